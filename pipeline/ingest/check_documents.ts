/** A look at documents before anything is made from them. @module */
import { exists, hashFile } from "../../core/files.ts";
import { UserError } from "../../core/errors.ts";
import type { FileRow } from "../catalogue/catalogue.ts";
import { corpusPaths } from "../corpus_paths.ts";

/** @throws {UserError} where the documents of a file are not what was written */
export function checkDocuments(
  corpus: string,
  { name, documents_sha256 }: Pick<FileRow, "name" | "documents_sha256">,
): void {
  const path = corpusPaths.documents(corpus, name);
  if (exists(path) && hashFile(path) === documents_sha256) return;
  throw new UserError(
    `Cannot use the documents ${path}: the file is ${
      exists(path) ? "not what was written" : "missing"
    }; run "pipeline verify --repair", then this command again`,
  );
}
