// What is wrong with the page for somebody who cannot see it well, or at all: a list of texts, empty when nothing is.
(() => {
  const wrong = [];
  const shown = (element) => element.checkVisibility({ checkVisibilityCSS: true }) && !element.closest('.hidden, .skip');
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  if (!document.documentElement.lang) wrong.push('the page has no language');
  if (!document.title) wrong.push('the page has no title');
  if (all('h1').length !== 1) wrong.push('there is not one h1');
  let last = 0;
  for (const heading of all('h1, h2, h3, h4')) {
    const level = Number(heading.tagName[1]);
    if (level > last + 1) wrong.push('a level is left out before: ' + heading.innerText);
    last = level;
  }
  for (const field of all('input, select, textarea')) {
    if (field.labels.length === 0 && !field.ariaLabel) wrong.push('no label: ' + field.id);
  }
  for (const button of all('button, a')) {
    if (!button.innerText.trim() && !button.ariaLabel) wrong.push('no name: ' + button.outerHTML);
  }
  for (const image of document.images) if (!image.hasAttribute('alt')) wrong.push('no alt: ' + image.src);
  for (const head of all('th')) if (!head.scope) wrong.push('no scope: ' + head.innerText);
  for (const table of all('table')) if (!table.caption) wrong.push('no caption: ' + table.id);
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id comes twice');
  for (const element of document.querySelectorAll('[aria-labelledby]')) {
    if (!document.getElementById(element.getAttribute('aria-labelledby'))) wrong.push('labelled by nothing: ' + element.id);
  }
  if (!document.querySelector('[aria-live=polite] #sentence')) wrong.push('the sentence is not read out');
  if (document.documentElement.scrollWidth > window.innerWidth) wrong.push('the page is wider than the window');

  const channels = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    return found.length === 4 ? found : [...found, 1];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !shown(element) || ['SCRIPT', 'NOSCRIPT'].includes(element.tagName)) continue;
    texts += 1;
    const [one, other] = [channels(getComputedStyle(element).color), ground(element)]
      .map((colour) => luminance(colour.slice(0, 3)) + 0.05);
    const contrast = Math.max(one, other) / Math.min(one, other);
    if (contrast < 4.5) wrong.push('contrast ' + contrast.toFixed(2) + ': ' + node.data.trim().slice(0, 40));
  }
  if (texts < 30) wrong.push('there is hardly any text: ' + texts);
  return wrong;
})()
