for (const slider of document.querySelectorAll(".slider")) {
  slider.querySelector("input").addEventListener("input", (event) => {
    slider.style.setProperty("--at", `${event.target.value}%`);
  });
}
// Charts that were laid out while their section was closed have no width yet.
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => {
    for (const chart of details.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(chart);
  });
}
