// What tests/test_book.py asks of every page. Each function returns a list of findings; empty is good.

function badImages() {
  return [...document.querySelectorAll("main img, header img")]
    .filter((i) => !i.alt.trim() || !i.complete || i.naturalWidth < 8 || i.getBoundingClientRect().width < 8)
    .map((i) => `${i.getAttribute("src").slice(0, 60)} alt="${i.alt}" width ${i.naturalWidth}`);
}

function unsetMath() {
  return [...document.querySelectorAll("main .math")]
    .filter((m) => !m.querySelector("mjx-container") || m.querySelector("mjx-merror"))
    .map((m) => m.textContent.slice(0, 60));
}

function tooWide() {
  const page = document.documentElement;
  const beyond = page.scrollWidth - page.clientWidth;
  if (beyond <= 1) return [];
  const culprits = [...document.querySelectorAll("main *")]
    .filter((e) => e.getBoundingClientRect().right > page.clientWidth + 1)
    .map((e) => e.tagName + "." + e.className);
  return [`${beyond} px: ${culprits.slice(0, 3).join(", ")}`];
}

// Text whose contrast with what lies behind it is below WCAG's 4.5 (3 for large text).
function faintText() {
  const parse = (c) => {
    const [r, g, b, a = 1] = (c.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return c.startsWith("color(srgb") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3]));
  const ground = (e) => {
    const stack = [];
    for (; e; e = e.parentElement) {
      stack.push(parse(getComputedStyle(e).backgroundColor));
      if (stack.at(-1)[3] === 1) break;
    }
    return stack.reverse().reduce((below, c) => over(c, below), [255, 255, 255]);
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = "p, li, td, th, h1, h2, h3, a, code, summary, span, label, dt, dd";
  const found = new Set();
  for (const e of document.querySelectorAll(text.split(", ").map((tag) => `main ${tag}`).join(", "))) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!own || !e.getClientRects().length || e.closest("mjx-container, .highlight, .headerlink, svg")) continue;
    const style = getComputedStyle(e);
    const back = ground(e);
    const [low, high] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => x - y);
    const ratio = (high + 0.05) / (low + 0.05);
    const needed = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < needed) found.add(`${ratio.toFixed(2)} ${e.tagName} ${e.textContent.trim().slice(0, 40)}`);
  }
  return [...found].slice(0, 5);
}
