"""Peaks by stretches of sound, and gain that dips there."""

from __future__ import annotations

from itertools import pairwise

import av
import media_factory as make
import numpy as np
import pytest

from operators.media.peaks import Peaks, dipped


def test_peaks_are_found_by_stretch() -> None:
    """However the sound is handed over, each tenth of a second has its highest amplitude."""
    samples = np.random.default_rng(1).standard_normal((2, 4_803)).astype(np.float32)
    peaks = Peaks(1_000)
    for start, end in pairwise((0, 7, 7, 100, 350, 1_000, 1_001, 4_803)):
        peaks.push(samples[:, start:end])
    wanted = [np.abs(samples[:, at : at + 100]).max() for at in range(0, 4_803, 100)]
    assert peaks.result() == pytest.approx(wanted)


def test_a_dip_is_whole_in_its_stretch_and_gone_two_further() -> None:
    """The gain falls within the stretch before, and the number of samples stays."""
    dips = np.zeros(10)
    dips[5] = -6.0
    frames = list(make.sound_frames(np.full((2, make.RATE), 0.5), "stereo"))
    planar = av.AudioResampler("fltp", "stereo", make.RATE)
    found = dipped((one for frame in frames for one in planar.resample(frame)), dips, make.RATE)
    out = np.concatenate([frame.to_ndarray() for frame in found], axis=1)
    inside, stretch = slice(24_000, 28_800), make.RATE // 10
    assert out.shape == (2, make.RATE) and np.abs(out[:, inside]).max() == pytest.approx(
        0.5 * 10 ** (-6 / 20), rel=1e-3
    )
    assert (out[:, : 4 * stretch - stretch // 2] == 0.5).all() and (out[:, 7 * stretch + stretch // 2 :] == 0.5).all()
