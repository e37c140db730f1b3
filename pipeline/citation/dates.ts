/**
 * PubMed's publication dates as ISO 8601, as exact as they are given.
 * @module
 */
import type { RawDate } from "./types.ts";

/** How much of a normalised date was given. */
type Precision = "day" | "month" | "season" | "year" | "";

/** A date: "2019-03-07", "2019-03" or "2019"; a range counts by its start, "" where there is none. */
interface NormalizedDate {
  iso: string;
  precision: Precision;
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
// The month a season starts in; winter's is January, as MedlineDate years name the later part.
const SEASONS: Record<string, number> = {
  winter: 1,
  spring: 3,
  summer: 6,
  fall: 9,
  autumn: 9,
};
const NONE: NormalizedDate = { iso: "", precision: "" };

/** The number of a month given as "3", "03", "Mar", "march" or "Jan-Mar" (its first); 0 for none. */
export function monthNumber(text: string): number {
  const word = /^\s*(\d{1,2}|[a-z]+)/i.exec(text)?.[1] ?? "";
  const number = /^\d/.test(word)
    ? Number(word)
    : word.length < 3
    ? 0
    : MONTHS.indexOf(word.slice(0, 3).toLowerCase()) + 1;
  return number >= 1 && number <= 12 ? number : 0;
}

function seasonMonth(text: string): number {
  const word = /[a-z]+/i.exec(text)?.[0].toLowerCase() ?? "";
  return SEASONS[word] ?? 0;
}

const pad = (n: number) => String(n).padStart(2, "0");

/** Normalises a date given in parts or in words. Days that the month lacks count as not given. */
export function normalizeDate(raw: RawDate): NormalizedDate {
  if (raw.year === "" && raw.medlineDate !== "") return fromWords(raw.medlineDate);
  const year = /^\d{4}$/.test(raw.year) ? raw.year : "";
  if (year === "") return NONE;
  const month = monthNumber(raw.month);
  if (month > 0) {
    const day = /^\d{1,2}$/.test(raw.day) ? Number(raw.day) : 0;
    const days = new Date(Date.UTC(Number(year), month, 0)).getUTCDate();
    if (day >= 1 && day <= days) {
      return { iso: `${year}-${pad(month)}-${pad(day)}`, precision: "day" };
    }
    return { iso: `${year}-${pad(month)}`, precision: "month" };
  }
  return withSeason(year, raw.season !== "" ? raw.season : raw.month);
}

function withSeason(year: string, season: string): NormalizedDate {
  const month = seasonMonth(season) || monthNumber(season);
  return month > 0
    ? { iso: `${year}-${pad(month)}`, precision: "season" }
    : { iso: year, precision: "year" };
}

/** "1998 Dec-1999 Jan", "2000 Spring", "1947-1948", "2015 Nov-Dec", "Fall 2004", "2008 Jan 5-12". */
function fromWords(words: string): NormalizedDate {
  const year = /(?:^|[^\d])(\d{4})(?!\d)/.exec(words);
  if (!year) return NONE;
  const at = year.index + year[0].length;
  // Words before the year count where none come after it; a second year ends the first part.
  const after = words.slice(at);
  const before = words.slice(0, year.index);
  const rest = /^[\s,./]*([a-z]+)[\s.]*(\d{1,2}(?!\d))?\s*(-?)/i.exec(after);
  const [, number = ""] = year;
  if (rest) {
    const [, word = "", day = ""] = rest;
    if (monthNumber(word) === 0 || seasonMonth(word) > 0) return withSeason(number, word);
    const raw = {
      year: number,
      month: word,
      day,
      season: "",
      medlineDate: "",
    };
    return normalizeDate(raw);
  }
  return withSeason(number, before);
}

/** The date as it was given, its parts in order. */
export function givenDate(raw: RawDate): string {
  return raw.medlineDate !== ""
    ? raw.medlineDate
    : [raw.year, raw.season, raw.month, raw.day].filter((part) => part !== "").join(" ");
}
