/** Small XML files as trees, by saxes. @module */
import { SaxesParser } from "saxes";
import { UserError } from "../../../core/errors.ts";
import { readText } from "./files.ts";

/** An element with what is in it. */
export interface XmlElement {
  name: string;
  attributes: Record<string, string>;
  children: XmlElement[];
  /** Its own text, without that of its children. */
  text: string;
  /** The line on which it ends, from 1. */
  line: number;
}

/**
 * The root element of a file.
 * @throws {UserError} where it is not well-formed, with the place.
 */
export function readXml(path: string): XmlElement {
  const parser = new SaxesParser();
  const open: XmlElement[] = [];
  let root: XmlElement | undefined;
  parser.on("error", (error) => {
    throw new UserError(`Cannot read ${path}: it is not well-formed XML (${error.message})`);
  });
  parser.on("opentag", ({ name, attributes }) => {
    const element: XmlElement = {
      name,
      attributes: attributes as Record<string, string>,
      children: [],
      text: "",
      line: parser.line,
    };
    open.at(-1)?.children.push(element);
    root ??= element;
    open.push(element);
  });
  const addText = (text: string) => {
    const last = open.at(-1);
    if (last) last.text += text;
  };
  parser.on("text", addText);
  parser.on("cdata", addText);
  parser.on("closetag", () => {
    const closed = open.pop();
    if (closed) closed.line = parser.line;
  });
  // What stands before the declaration would not be well-formed; lines are counted all the same.
  const text = readText(path);
  const before = /^\s*/.exec(text)?.[0] ?? "";
  parser.line += before.split("\n").length - 1;
  parser.write(text.slice(before.length)).close();
  return root ?? (() => {
    throw new UserError(`Cannot read ${path}: it has no element`);
  })();
}

/** The children of a name. */
export const childrenOf = (element: XmlElement, name: string): XmlElement[] =>
  element.children.filter((child) => child.name === name);

/** The text of the first child of a name, or undefined. */
export const childText = (element: XmlElement, name: string): string | undefined =>
  childrenOf(element, name)[0]?.text;

/** Text as XML. */
export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
