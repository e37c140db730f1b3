/** Publishing a model folder on the Hugging Face hub. @module */
import { createRepo, HubApiError, uploadFiles } from "@huggingface/hub";
import { messageOf, UserError } from "../../core/errors.ts";
import { join, toFileUrl } from "../../core/std.ts";
import { type HubSettings, hubSettings, isHubId } from "./hub.ts";

/** How {@linkcode pushFolder} publishes. */
interface PushOptions {
  /** A new repository is visible to its owner only. */
  private?: boolean;
  settings?: HubSettings;
}

/**
 * The token to publish with.
 * @throws {UserError} where `id` is no "org/name", or there is no token.
 */
export function checkPush(id: string, settings: HubSettings = hubSettings()): string {
  if (!isHubId(id) || id.includes("@")) {
    throw new UserError(`Cannot publish as "${id}": a name of the form org/name is needed`);
  }
  if (!settings.token) {
    throw new UserError(
      `Cannot publish ${id}: set HF_TOKEN to a token of ${settings.endpoint} that may write`,
    );
  }
  return settings.token;
}

/**
 * Publishes a model folder as `org/name`, in one commit; the repository is made where there is none.
 * Large files are read as they are sent.
 * @returns the model's address.
 * @throws {UserError} where the hub refuses, or there is no token.
 */
export async function pushFolder(
  folder: string,
  id: string,
  options: PushOptions = {},
): Promise<string> {
  const settings = options.settings ?? hubSettings();
  const accessToken = checkPush(id, settings);
  const hubUrl = settings.endpoint;
  const repo = { type: "model" as const, name: id };
  const files = [...Deno.readDirSync(folder)].filter((entry) => entry.isFile)
    .map(({ name }) => ({ path: name, content: toFileUrl(join(folder, name)) }));
  try {
    try {
      await createRepo({ repo, accessToken, hubUrl, private: options.private ?? false });
    } catch (error) {
      if (!(error instanceof HubApiError && error.statusCode === 409)) throw error; // it exists
    }
    // Plain LFS: the newer chunked store needs threads that not every platform has.
    await uploadFiles({
      repo,
      accessToken,
      hubUrl,
      files,
      commitTitle: "Upload model",
      useXet: false,
    });
  } catch (error) {
    const status = error instanceof HubApiError ? ` (${error.statusCode})` : "";
    throw new UserError(`Cannot publish ${folder} as ${id}: ${messageOf(error)}${status}`);
  }
  return `${hubUrl}/${id}`;
}
