/**
 * The HTML page on which a web server lists a folder: what is linked, and whether the page is whole.
 * Both are read in one pass, so that a page made to be slow is only as slow as it is long.
 * @module
 */

/** A link on a page. */
interface Link {
  /** The link's target, as it is written. */
  target: string;
  /** The text behind the link, to the end of its line: size and date. */
  stamp: string;
}

const CLOSES_PAGE = /<\/(html|body|pre|table|ul)\s*>$/i;

/**
 * True where nothing but tags follows the end of the page, its list or its table: half a listing
 * would be taken for files that do not exist.
 */
export function isWholePage(html: string): boolean {
  let end = html.length;
  for (;;) {
    while (end > 0 && isSpace(html.charCodeAt(end - 1))) end--;
    if (html[end - 1] !== ">") return false;
    // Back to the tag before: what lies between is this one, or text and this one.
    const before = end < 2 ? -1 : html.lastIndexOf(">", end - 2);
    const piece = html.slice(before + 1, end);
    if (CLOSES_PAGE.test(piece)) return true;
    if (!piece.trimStart().startsWith("<")) return false;
    end = before + 1;
  }
}

/** The links `<a ... href=TARGET ...>text</a> stamp` of a page, in order. */
export function* linksOf(html: string): Generator<Link> {
  const lower = html.toLowerCase();
  // Case that takes another number of characters would move everything behind it.
  const text = lower.length === html.length ? lower : html;
  const nextEnd = finder(text, ">");
  const nextTag = finder(text, "<");
  for (let at = text.indexOf("href"); at >= 0; at = text.indexOf("href", at)) {
    at += "href".length;
    let from = afterSpace(text, at);
    if (text[from] !== "=") continue;
    from = afterSpace(text, from + 1);
    if (text[from] === '"' || text[from] === "'") from++;
    let to = from;
    while (to < text.length && !`"'>`.includes(text.charAt(to)) && !isSpace(text.charCodeAt(to))) {
      to++;
    }
    at = to;
    if (to === from) continue;
    const end = nextEnd(to);
    if (end < 0) return; // no tag ends any more
    const close = nextTag(end + 1);
    if (close < 0) return;
    if (!text.startsWith("</a>", close)) continue;
    const stampFrom = close + "</a>".length;
    const stampTo = endOfStamp(text, stampFrom);
    yield { target: html.slice(from, to), stamp: html.slice(stampFrom, stampTo) };
    at = stampTo;
  }
}

/** Finds the next `what` from ever later places on, and looks at no character twice. */
function finder(text: string, what: string): (from: number) => number {
  let found = 0;
  return (from) => {
    if (found >= 0 && (found < from || text[found] !== what)) found = text.indexOf(what, from);
    return found;
  };
}

function endOfStamp(text: string, from: number): number {
  let to = from;
  while (to < text.length && text[to] !== "\n" && text[to] !== "<") to++;
  return to;
}

function afterSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** White space as `\s` has it in listings: ASCII's. */
const isSpace = (code: number) => code === 32 || code >= 9 && code <= 13;
