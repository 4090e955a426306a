// The waveform, and a line in the spectrogram that goes with the sound.
"use strict";
const nonce = document.currentScript.dataset.nonce;
for (const figure of document.querySelectorAll("[data-sound]")) {
  const audio = figure.querySelector("audio"), head = figure.querySelector(".head");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  audio.preload = "auto";
  const wave = WaveSurfer.create({
    container: figure.querySelector(".wave"), media: audio, height: 48, cspNonce: nonce, normalize: true,
    waveColor: colour("--soft"), progressColor: colour("--c5"), cursorColor: colour("--c5"),
  });
  wave.on("timeupdate", (seconds) => { head.setAttribute("x1", seconds); head.setAttribute("x2", seconds); });
  figure.querySelector(".spectrogram").addEventListener("click", (event) => {
    const place = event.currentTarget.getBoundingClientRect();
    audio.currentTime = ((event.clientX - place.left) / place.width) * Number(figure.dataset.length);
    audio.play();
  });
}
