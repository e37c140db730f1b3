/**
 * Where S3-compatible storage is and how to enter it: the variables and files that AWS's own tools
 * read, so what works with those works here.
 * @module
 */
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { readText } from "../../core/files.ts";
import type { Environment } from "../../core/locations.ts";
import { isThere } from "../../core/rights.ts";

/** The variables that say where the storage is and who asks. */
export const STORAGE_VARIABLES: readonly string[] = [
  "AWS_ACCESS_KEY_ID",
  "AWS_CONFIG_FILE",
  "AWS_DEFAULT_REGION",
  "AWS_ENDPOINT_URL",
  "AWS_ENDPOINT_URL_S3",
  "AWS_PROFILE",
  "AWS_REGION",
  "AWS_SECRET_ACCESS_KEY",
  "AWS_SESSION_TOKEN",
  "AWS_SHARED_CREDENTIALS_FILE",
  "HOME",
  "USERPROFILE",
];

/** A place in a bucket. */
export interface StoragePlace {
  bucket: string;
  /** With a slash at its end, or "". */
  prefix: string;
}

/** How a bucket is reached. */
export interface StorageAccess {
  /** A URL. */
  endpoint: string;
  region: string;
  accessKey: string;
  secretKey: string;
  sessionToken?: string;
}

/** True for a place in S3-compatible storage. */
export const isStorage = (place: string): boolean => /^s3:\/\//i.test(place);

/** Reads "s3://bucket/prefix". @throws {UserError} where it names no bucket */
export function parseStorage(place: string): StoragePlace {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/i.exec(place);
  const prefix = (match?.[2] ?? "").replace(/^\/+|\/+$/g, "");
  if (!match?.[1] || prefix.split("/").includes("..")) {
    throw new UserError(
      `Cannot use ${place}: a bucket and a folder in it are needed, as in s3://bucket/corpus`,
    );
  }
  return { bucket: match[1], prefix: prefix === "" ? "" : prefix + "/" };
}

/** The files that may hold keys and settings. */
export function storageFiles(get: Environment): { credentials: string; config: string } {
  const home = get("HOME") || get("USERPROFILE") || ".";
  return {
    credentials: get("AWS_SHARED_CREDENTIALS_FILE") || join(home, ".aws/credentials"),
    config: get("AWS_CONFIG_FILE") || join(home, ".aws/config"),
  };
}

/** Reads `[name]` and `key = value` lines of AWS's files: section -> key -> value. */
function readSections(path: string): Map<string, Map<string, string>> {
  const sections = new Map<string, Map<string, string>>();
  if (!isThere(path)) return sections;
  let current = new Map<string, string>();
  for (const line of readText(path, "file of keys", 1 << 20).split(/\r?\n/)) {
    const section = /^\s*\[\s*(?:profile\s+)?([^\]]+?)\s*\]/.exec(line)?.[1];
    if (section !== undefined) sections.set(section, current = new Map());
    // An indented line belongs to a setting of another service.
    const [, key, value] = /^([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) current.set(key, value);
  }
  return sections;
}

/** The address of the storage, which is AWS's where nothing else is said. */
export function storageEndpoint(get: Environment): { endpoint: string; region: string } {
  const config = readSections(storageFiles(get).config).get(get("AWS_PROFILE") || "default");
  const region = get("AWS_REGION") || get("AWS_DEFAULT_REGION") || config?.get("region") ||
    "us-east-1";
  const endpoint = get("AWS_ENDPOINT_URL_S3") || get("AWS_ENDPOINT_URL") ||
    config?.get("endpoint_url") || `https://s3.${region}.amazonaws.com`;
  return { endpoint, region };
}

/**
 * How to enter the storage.
 * @throws {UserError} where there are no keys, or the address is no URL
 */
export function storageAccess(get: Environment): StorageAccess {
  const { endpoint, region } = storageEndpoint(get);
  if (!/^https?:\/\//i.test(endpoint) || !URL.canParse(endpoint)) {
    throw new UserError(
      `Cannot reach the storage at "${endpoint}": AWS_ENDPOINT_URL has to be a URL such as ` +
        "https://storage.example.org",
    );
  }
  const accessKey = get("AWS_ACCESS_KEY_ID");
  const secretKey = get("AWS_SECRET_ACCESS_KEY");
  const sessionToken = get("AWS_SESSION_TOKEN");
  if (accessKey && secretKey) {
    return { endpoint, region, accessKey, secretKey, ...(sessionToken ? { sessionToken } : {}) };
  }
  const profile = get("AWS_PROFILE") || "default";
  const { credentials, config } = storageFiles(get);
  for (const file of [credentials, config]) {
    const keys = readSections(file).get(profile);
    const id = keys?.get("aws_access_key_id");
    const secret = keys?.get("aws_secret_access_key");
    const token = keys?.get("aws_session_token");
    if (!id || !secret) continue;
    return {
      endpoint,
      region,
      accessKey: id,
      secretKey: secret,
      ...(token ? { sessionToken: token } : {}),
    };
  }
  throw new UserError(
    `Cannot enter the storage at ${endpoint}: there are no keys; set AWS_ACCESS_KEY_ID and ` +
      `AWS_SECRET_ACCESS_KEY, or put them under [${profile}] in ${credentials}`,
  );
}
