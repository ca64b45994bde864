// Words and elements. Whatever comes from the bucket is anybody's text: it reaches the page as text nodes
// alone, and characters that hide, reorder or draw over others are spelled out.

const TREACHEROUS = new RegExp(
  "[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}\\p{Cn}\\p{Zl}\\p{Zp}" +
  "\\u00a0\\u034f\\u115f\\u1160\\u2000-\\u200a\\u202f\\u205f\\u2800\\u3000\\u3164\\ufe00-\\ufe0f\\uffa0]" +
  "|\\p{M}{3,}", "gu");

const spelled = (char) => "‹U+" + char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "›";
const harmless = (text) => String(text).replace(TREACHEROUS, (found) => [...found].map(spelled).join(""));

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : harmless(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : harmless(child));
  }
  return element;
}

const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const isolated = (text) => make("bdi", null, text);

// Touches the document only for news: that keeps 500 nodes quick, and screen readers quiet.
function say(element, text) {
  const clean = harmless(text);
  if (element.textContent !== clean) element.textContent = clean;
}

function mark(element, name, value) {
  const text = String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

function length(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 120) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d`;
}

// For settings, which may be fractions of a second.
const interval = (seconds) => (seconds < 100 ? `${Number(seconds.toFixed(1))} s` : length(seconds));
const clipped = (text, limit) => (text.length > limit ? `${text.slice(0, limit)}…` : text);
const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;
const place = (host, port) => (host.includes(":") && !host.startsWith("[") ? `[${host}]:${port}` : `${host}:${port}`);

function clockTime(unixSeconds) {
  const date = new Date(unixSeconds * 1000);
  if (Number.isNaN(date.getTime())) return "?";
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
