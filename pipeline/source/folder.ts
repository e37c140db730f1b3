/** A local folder with `baseline/` and `updatefiles/`. @module */
import { join } from "../../core/std.ts";
import { messageOf, UserError } from "../../core/errors.ts";
import { FOLDERS, parseName } from "./names.ts";
import { parseMd5, type Source, type SourceFile } from "./source.ts";

/** Reads from a folder; nothing is copied. */
export class FolderSource implements Source {
  readonly remote = false;
  constructor(readonly place: string) {}

  list(): Promise<SourceFile[]> {
    const files: SourceFile[] = [];
    for (const folder of FOLDERS) {
      const path = join(this.place, folder);
      let entries: Deno.DirEntry[];
      try {
        entries = [...Deno.readDirSync(path)];
      } catch (error) {
        if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
          continue;
        }
        throw new UserError(`Cannot read the folder ${path}: ${(error as Error).message}`);
      }
      for (const entry of entries) {
        const name = entry.isDirectory ? undefined : parseName(entry.name);
        if (!name) continue;
        const stat = statOf(join(path, entry.name));
        const stamp = `${stat.size} ${stat.mtime?.toISOString() ?? ""}`;
        files.push({ ...name, folder, fileName: entry.name, stamp });
      }
    }
    if (files.length === 0) {
      throw new UserError(
        `Cannot find PubMed files in ${this.place}: it has no baseline/ or updatefiles/ with files ` +
          "named like pubmed26n0001.xml.gz; give the folder that holds those two, or one of .jsonl, " +
          ".parquet or .txt files",
      );
    }
    return Promise.resolve(files);
  }

  md5(file: SourceFile): Promise<string> {
    const path = join(this.place, file.folder, file.fileName + ".md5");
    let text: string;
    try {
      text = Deno.readTextFileSync(path);
    } catch {
      throw new UserError(
        `Cannot verify ${file.fileName}: there is no ${path}; copy it from the same server`,
      );
    }
    const md5 = parseMd5(text);
    if (md5 === undefined) {
      throw new UserError(`Cannot verify ${file.fileName}: ${path} holds no MD5; copy it again`);
    }
    return Promise.resolve(md5);
  }

  obtain(file: SourceFile): Promise<string> {
    return Promise.resolve(join(this.place, file.folder, file.fileName));
  }
}

/** @throws {UserError} where a link leads nowhere */
function statOf(path: string): Deno.FileInfo {
  try {
    return Deno.statSync(path);
  } catch (error) {
    const what = error instanceof Deno.errors.NotFound
      ? "it is a link to a file that is not there"
      : messageOf(error);
    throw new UserError(`Cannot read ${path}: ${what}; put the file there, or remove the link`);
  }
}
