/** Opens the place that a `--source` names. @module */
import { UserError } from "../../core/errors.ts";
import { FolderSource } from "./folder.ts";
import { HttpSource } from "./http.ts";
import type { HttpOptions } from "./http_client.ts";
import { shownPlace, type Source } from "./source.ts";

/** Opens a folder, or an `http:` or `https:` URL. */
export function openSource(place: string, http: HttpOptions = {}): Source {
  if (/^https?:\/\//i.test(place)) return new HttpSource(place, http);
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(place);
  if (scheme) {
    throw new UserError(
      `Cannot read from ${shownPlace(place)}: "${scheme[1]}" is no protocol that this ` +
        "program can read; give a folder or an https URL",
    );
  }
  return new FolderSource(place);
}
