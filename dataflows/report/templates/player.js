// A Blob seeks in every browser, and a data: URI of megabytes would be parsed again for each seek.
const blobUrl = (uri) => {
  const comma = uri.indexOf(",");
  const text = atob(uri.slice(comma + 1));
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return URL.createObjectURL(new Blob([bytes], { type: uri.slice(5, uri.indexOf(";")) }));
};

// A track element with a data: address counts as another origin for a page opened from a file, so cues come by script.
const addCaptions = (media, payload) => {
  if (!payload.cues.length) return;
  const track = media.addTextTrack("captions", "Captions", payload.language || "en");
  for (const [start, end, text] of payload.cues) track.addCue(new VTTCue(start, end, text));
  track.mode = "showing";
  const caption = media.parentElement.querySelector(".caption");
  if (!caption) return;
  track.addEventListener("cuechange", () => {
    const shown = [...track.activeCues].map((cue) => cue.getCueAsHTML().textContent).join(" ");
    if (shown) caption.textContent = shown;
  });
};

// Everything with a time: seeks on click, and is marked while the media is there.
const followTimes = (card, media) => {
  const timed = [...card.querySelectorAll(".word, .moments button, .transcript button")];
  const marked = timed.filter((element) => !element.closest(".transcript button"));
  for (const element of timed) {
    element.addEventListener("click", () => {
      media.currentTime = Number(element.dataset.start) + 0.001;
      if (element.tagName === "BUTTON") media.play().catch(() => {});
    });
  }
  const mark = () => {
    for (const element of marked) {
      const { start, end } = element.dataset;
      const now = media.currentTime >= Number(start) && media.currentTime < Number(end);
      if (now === element.classList.contains("now")) continue;
      element.classList.toggle("now", now);
      if (now && !media.paused) keepInView(element);
    }
  };
  return mark;
};

const keepInView = (element) => {
  const box = element.closest(".transcript, .moments");
  const top = element.getBoundingClientRect().top - box.getBoundingClientRect().top;
  if (top < 0 || top > box.clientHeight - 40) box.scrollTop += top - box.clientHeight / 3;
};

const openAsset = (card) => {
  traceLineage(card);
  const source = card.querySelector(".payload");
  if (!source) return;
  const payload = JSON.parse(source.textContent);
  const media = card.querySelector("video, audio");
  const timeline = card.querySelector(".timeline");
  const draw = timeline ? openTimeline(card, timeline, payload, media) : () => {};
  if (!media) return;
  const poster = card.querySelector(".thumb img:not(.blur)");
  if (poster && media.tagName === "VIDEO") media.poster = poster.src;
  media.src = blobUrl(media.dataset.source);
  media.removeAttribute("data-source");
  addCaptions(media, payload);
  const mark = followTimes(card, media);
  const update = () => { mark(); draw(); };
  // timeupdate comes four times a second, too few to mark words by.
  const tick = () => { update(); if (!media.paused) requestAnimationFrame(tick); };
  media.addEventListener("play", () => {
    document.querySelectorAll("video, audio").forEach((other) => { if (other !== media) other.pause(); });
    tick();
  });
  ["seeking", "seeked", "timeupdate", "loadedmetadata"].forEach((name) => media.addEventListener(name, update));
};
