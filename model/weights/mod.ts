/**
 * The room's door: models on the disk and on the Hugging Face Hub, read and written bit for bit.
 *
 * | file                                     | what it is                                              |
 * | ---------------------------------------- | ------------------------------------------------------- |
 * | `folder.ts`                              | opens a model folder, checks every tensor               |
 * | `folder_writer.ts`, `card.ts`            | writes one, with its model card                         |
 * | `adapter.ts`, `adapter_writer.ts`        | adapters in PEFT's layout, beside their base            |
 * | `taught.ts`                              | the task and the labels that a model was taught         |
 * | `tensors.ts`, `tensor_source.ts`         | named tensors of a folder, whatever the files' format   |
 * | `pytorch_file.ts`, `pickle.ts`, `zip.ts` | PyTorch's own format, read without running any of it    |
 * | `hub.ts`, `hub_client.ts`, `push.ts`     | downloads from the Hub, and uploads to it               |
 * | `extend.ts`, `contextual_rows.ts`        | embeddings for an extended vocabulary                   |
 * @module
 */
export { fingerprint, mergedFolder } from "./adapter.ts";
export { AdapterFolderWriter, writeAdapterFolder } from "./adapter_writer.ts";
export { modelCard } from "./card.ts";
export {
  assertWritableFolder,
  type ModelFolder,
  type ModelLayout,
  type ModelToWrite,
  openModelFolder,
  TOKENIZER_REMEDY,
  writeModelFolder,
} from "./folder.ts";
export { type FolderContents, ModelFolderWriter } from "./folder_writer.ts";
export type { GgufType } from "./gguf_file.ts";
export type { Taught } from "./taught.ts";
export {
  downloadModel,
  downloadTokenizer,
  type HubSettings,
  isHubId,
  localModel,
  localTokenizer,
} from "./hub.ts";
export { MOST_CONTEXTS } from "./contextual_rows.ts";
export { extendModel } from "./extend.ts";
export { writeGguf } from "./gguf_model.ts";
