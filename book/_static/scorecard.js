// The filter of the full scorecard. Without this script the page is the list of all claims, folded by notebook.

const QUESTIONS = [
  ["chapter", "Paper"],
  ["mechanism", "Mechanism verdict"],
  ["figure", "Figure"],
  ["seeds", "Seeds"],
];

// What a row answers to a question; a row may give several answers.
const answers = (row, key) => row.dataset[key].split(";");

function addFilter(scorecard) {
  const rows = [...scorecard.querySelectorAll("tbody tr[data-mechanism]")];
  const folds = [...scorecard.querySelectorAll(".scorecard-group")];
  const chapters = [...scorecard.querySelectorAll(".scorecard-part")];
  const form = document.createElement("form");
  form.className = "scorecard-filter";
  form.setAttribute("aria-label", "Choose which claims are shown");

  const chapterName = (value) =>
    scorecard.querySelector(`.scorecard-part[data-chapter="${value}"] .scorecard-chapter`).textContent.trim();
  const selects = QUESTIONS.map(([key, title]) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.name = key;
    select.add(new Option("all", ""));
    for (const value of new Set(rows.flatMap((row) => answers(row, key)))) {
      select.add(new Option(key === "chapter" ? chapterName(value) : value, value));
    }
    label.append(title, select);
    form.append(label);
    return select;
  });

  const reset = document.createElement("button");
  reset.type = "reset";
  reset.textContent = "Show all";
  const status = document.createElement("output");
  form.append(reset, status);

  // What is asked for is unfolded.
  const apply = () => {
    const asked = selects.some((select) => select.value);
    let shown = 0;
    for (const row of rows) {
      row.hidden = selects.some((select) => select.value && !answers(row, select.name).includes(select.value));
      shown += !row.hidden;
    }
    for (const fold of folds) {
      fold.hidden = !fold.querySelector("tr[data-mechanism]:not([hidden])");
      fold.open = asked && !fold.hidden;
    }
    for (const chapter of chapters) {
      chapter.hidden = !chapter.querySelector(".scorecard-group:not([hidden])");
    }
    status.textContent = `${shown} of ${rows.length} claims`;
  };
  form.addEventListener("change", apply);
  form.addEventListener("reset", () => setTimeout(apply)); // the selects change after the event
  form.addEventListener("submit", (event) => event.preventDefault());
  chapters[0].before(form);
  status.textContent = `${rows.length} of ${rows.length} claims`;
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".scorecard[data-filter]").forEach(addFilter);
});
