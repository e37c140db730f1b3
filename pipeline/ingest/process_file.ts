/**
 * One source file from XML to documents, rejects and tokens: what a worker does.
 * @module
 */
import { UserError } from "../../core/errors.ts";
import { exists, hashFile } from "../../core/files.ts";
import { MAX_NUMBER } from "../citation/builder.ts";
import { RejectWriter } from "./reject_writer.ts";
import { abstractText, type Citation, documentText } from "../citation/types.ts";
import type { FieldSelection } from "../citation/elements.ts";
import type { FileEvents } from "../catalogue/catalogue.ts";
import { corpusPaths } from "../corpus_paths.ts";
import { DocumentWriter } from "../documents/writer.ts";
import { type DropReason, dropReason, type Policies, type PolicyView } from "./policy.ts";
import { readXml, verifyMd5 } from "./read_xml.ts";

/** A file to bring into a corpus. */
export interface FileJob {
  /** "pubmed26n0001". */
  source: string;
  /** Where the `.xml.gz` lies. */
  path: string;
  md5: string;
  corpus: string;
  fields: FieldSelection;
  policies: Policies;
}

/** What came of it. */
export interface FileOutcome {
  records: number;
  documents: number;
  xmlBytes: number;
  documentsSha256: string;
  /** Of the list of rejects; "" where nothing was dropped. */
  rejectedSha256: string;
  /** Reason -> number of records or documents dropped. */
  counts: Partial<Record<DropReason, number>>;
  events: FileEvents;
}

/** Versions that a file's records set or delete, column by column. */
class EventColumns {
  readonly pmids: number[] = [];
  readonly versions: number[] = [];
  readonly ordinals: number[] = [];
}

/** The most records and deletions of one file: PubMed's have 30,000, and memory grows with them. */
export const MAX_FILE_RECORDS = 2_000_000;

/** The policies' view of a citation. */
function policyView(citation: Citation): PolicyView {
  const abstract = abstractText(citation.sections);
  return {
    title: citation.title,
    abstract,
    text: documentText(citation.title, abstract),
    languages: citation.languages,
    publicationTypes: citation.publicationTypes,
    corrections: citation.corrections,
  };
}

/**
 * Verifies, inflates and parses a file, and writes its documents and rejects. Everything appears
 * at the end or not at all.
 * @param kept told of every document that no policy drops: the record's position and its text
 * @throws {UserError} where the file is not what its MD5 says, damaged or malformed.
 */
export async function processFile(
  job: FileJob,
  kept?: (citation: Citation, ordinal: number, text: string) => void,
  signal?: AbortSignal,
): Promise<FileOutcome> {
  verifyMd5(job.path, job.md5);
  const writer = new DocumentWriter(
    corpusPaths.documents(job.corpus, job.source),
    job.source,
    job.fields,
  );
  const records = new EventColumns();
  const deleted = new EventColumns();
  const counts: FileOutcome["counts"] = {};
  const rejected = corpusPaths.rejected(job.corpus, job.source);
  const rejects = new RejectWriter(rejected);
  let ordinal = 0;
  let total = 0;
  let documents = 0;
  const drop = (
    pmid: number,
    version: number,
    at: number,
    reason: DropReason,
    element?: string,
  ) => {
    counts[reason] = (counts[reason] ?? 0) + 1;
    const rest = element === undefined ? {} : { element: element.slice(0, 80) };
    rejects.add({ pmid: pmid || null, version, ordinal: at, reason, ...rest });
  };
  const next = () => {
    if (ordinal === MAX_FILE_RECORDS) {
      throw new UserError(
        `Cannot take ${job.path}: it has more than ${MAX_FILE_RECORDS} records and deletions, which no ` +
          "file of PubMed's has; take it from another mirror",
      );
    }
    return ordinal++;
  };
  try {
    const xmlBytes = await readXml(
      job.path,
      {
        citation(citation) {
          const at = next();
          const { pmid, version } = citation;
          total++;
          if (pmid === 0 || pmid > MAX_NUMBER) return drop(0, version, at, "no-pmid");
          if (version === 0) return drop(pmid, version, at, "bad-version");
          writer.add(citation, at);
          documents++;
          records.pmids.push(pmid);
          records.versions.push(version);
          records.ordinals.push(at);
          const view = policyView(citation);
          const reason = dropReason(view, job.policies);
          if (reason) drop(pmid, version, at, reason);
          else kept?.(citation, at, view.text);
        },
        deletions(list) {
          for (const { pmid, version } of list) {
            if (pmid === 0 || pmid > MAX_NUMBER || version === 0) {
              drop(pmid, version, ordinal, "bad-deletion");
              continue;
            }
            deleted.pmids.push(pmid);
            deleted.versions.push(version);
            deleted.ordinals.push(next());
          }
        },
        unknown: (name) => drop(0, 0, ordinal, "unknown-element", name),
      },
      job.fields,
      signal,
    );
    rejects.commit();
    const documentsSha256 = writer.commit();
    return {
      records: total,
      documents,
      xmlBytes,
      documentsSha256,
      rejectedSha256: exists(rejected) ? hashFile(rejected) : "",
      counts,
      events: {
        pmids: Int32Array.from(records.pmids),
        versions: Int32Array.from(records.versions),
        ordinals: Int32Array.from(records.ordinals),
        deletedPmids: Int32Array.from(deleted.pmids),
        deletedVersions: Int32Array.from(deleted.versions),
        deletedOrdinals: Int32Array.from(deleted.ordinals),
      },
    };
  } catch (error) {
    writer.abort();
    rejects.abort();
    throw error;
  }
}
