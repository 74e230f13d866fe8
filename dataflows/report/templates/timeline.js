const openTimeline = (card, timeline, payload, media) => {
  const [film, wave] = [timeline.querySelector(".film"), timeline.querySelector(".wave")];
  const [head, hover] = [timeline.querySelector(".head"), timeline.querySelector(".hover")];
  const tile = timeline.querySelector(".tile");
  const sprite = card.querySelector(".sprite");
  const duration = () => (media && Number.isFinite(media.duration) ? media.duration : payload.duration);
  let position = 0;

  const fitted = (canvas) => {
    const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
    return canvas.getContext("2d");
  };

  const tileAt = (seconds) => {
    const found = payload.tiles.find(([start, end]) => seconds >= start && seconds < end);
    return found || payload.tiles[seconds <= 0 ? 0 : payload.tiles.length - 1];
  };

  const drawFilm = () => {
    if (!film || !sprite.naturalWidth) return;
    const pen = fitted(film);
    const [, , , , width, height] = payload.tiles[0];
    const each = (film.height * width) / height;
    const count = Math.max(1, Math.ceil(film.width / each));
    for (let i = 0; i < count; i += 1) {
      const middle = Math.min(1, ((i + 0.5) * each) / film.width);
      const [, , x, y, w, h] = tileAt(middle * duration());
      pen.drawImage(sprite, x, y, w, h, i * each, 0, each, film.height);
    }
  };

  const drawWave = () => {
    if (!wave) return;
    const pen = fitted(wave), { width, height } = wave;
    const pairs = payload.peaks.length / 2, step = 3 * (devicePixelRatio || 1);
    const played = (position / duration()) * width;
    const [past, ahead] = [colour("--accent"), colour("--wave")];
    for (let x = 0; x < width; x += step) {
      let low = 0, high = 0;
      const last = Math.min(pairs, Math.max(Math.ceil(((x + step) / width) * pairs), Math.floor((x / width) * pairs) + 1));
      for (let i = Math.floor((x / width) * pairs); i < last; i += 1) {
        low = Math.min(low, payload.peaks[2 * i]);
        high = Math.max(high, payload.peaks[2 * i + 1]);
      }
      const top = height / 2 - (high / 127) * height * 0.47, bottom = height / 2 - (low / 127) * height * 0.47;
      pen.fillStyle = x < played ? past : ahead;
      pen.fillRect(x, Math.min(top, height / 2 - 0.75), step * 0.68, Math.max(1.5, bottom - top));
    }
  };

  const draw = () => {
    if (media) position = media.currentTime;
    head.style.left = `${clamp(position / duration(), 0, 1) * 100}%`;
    timeline.setAttribute("aria-valuenow", position.toFixed(2));
    timeline.setAttribute("aria-valuetext", `${clock(position)} of ${clock(duration())}`);
    drawWave();
  };

  const seek = (seconds) => {
    position = clamp(seconds, 0, duration());
    if (media) media.currentTime = Math.min(position, Math.max(0, duration() - 0.05));
    draw();
  };

  const show = (seconds) => {
    const box = timeline.getBoundingClientRect(), at = clamp(seconds / duration(), 0, 1) * box.width;
    timeline.classList.add("pointed");
    hover.style.left = `${at}px`;
    tile.hidden = false;
    tile.querySelector("figcaption").textContent = clock(seconds);
    const canvas = tile.querySelector("canvas");
    if (canvas) {
      const [start, , x, y, w, h] = tileAt(seconds);
      [canvas.width, canvas.height] = [w, h];
      canvas.dataset.start = start;
      canvas.getContext("2d").drawImage(sprite, x, y, w, h, 0, 0, w, h);
    }
    tile.style.left = `${clamp(at - tile.offsetWidth / 2, 0, Math.max(0, box.width - tile.offsetWidth))}px`;
  };

  const hide = () => { timeline.classList.remove("pointed"); tile.hidden = true; };
  const secondsAt = (event) => {
    const box = timeline.getBoundingClientRect();
    return clamp((event.clientX - box.left) / box.width, 0, 1) * duration();
  };

  timeline.addEventListener("pointermove", (event) => {
    show(secondsAt(event));
    if (event.buttons) seek(secondsAt(event));
  });
  timeline.addEventListener("pointerdown", (event) => {
    timeline.setPointerCapture(event.pointerId);
    show(secondsAt(event));
    seek(secondsAt(event));
  });
  timeline.addEventListener("pointerleave", hide);
  timeline.addEventListener("pointerup", (event) => { if (event.pointerType !== "mouse") hide(); });
  timeline.addEventListener("blur", hide);
  timeline.addEventListener("keydown", (event) => {
    const moves = {
      ArrowLeft: position - 1, ArrowDown: position - 1, ArrowRight: position + 1, ArrowUp: position + 1,
      PageDown: position - 10, PageUp: position + 10, Home: 0, End: duration(),
    };
    if (event.key in moves) {
      seek(moves[event.key]);
      show(position);
    } else if (event.key === " " && media) {
      if (media.paused) media.play().catch(() => {}); else media.pause();
    } else {
      return;
    }
    event.preventDefault();
  });

  const redraw = () => { drawFilm(); draw(); };
  new ResizeObserver(redraw).observe(timeline);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (sprite) sprite.decode().then(redraw, () => {});
  return draw;
};
