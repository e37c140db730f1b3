/**
 * The same model in PyTorch's transformers on the same device, where python3 has both: a peer to
 * measure against, never needed.
 * @module
 */
import type { MambaConfig } from "../model/mamba/config.ts";

/** One way to run the peer. */
interface TorchFigure {
  mode: "eager" | "compiled";
  tokens_per_second?: number;
  /** Why there is no figure. */
  error?: string;
}

/** Trains on random tokens in bf16; prints one JSON line. */
const SCRIPT = `
import json, sys, time
import torch
from transformers import MambaConfig, MambaForCausalLM
spec = json.loads(sys.argv[1])
device = "cuda" if torch.cuda.is_available() else "cpu"
config = MambaConfig(vocab_size=spec["vocab"], hidden_size=spec["hidden"],
    num_hidden_layers=spec["layers"], state_size=spec["state"], expand=2, use_cache=False)
model = MambaForCausalLM(config).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
ids = torch.randint(0, spec["vocab"], (spec["batch"], spec["length"]), device=device)
def measure(run):
    best, began = float("inf"), time.perf_counter()
    for i in range(8):
        if i > 1 and time.perf_counter() - began > spec["seconds"] / 2:
            break
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        if i:
            best = min(best, time.perf_counter() - start)
    return ids.numel() / best
try:
    run = model if spec["mode"] == "eager" else torch.compile(model)
    print(json.dumps({"tokens_per_second": measure(run)}), flush=True)
except Exception as error:
    print(json.dumps({"error": str(error).strip().splitlines()[-1][:200]}), flush=True)
`;

/**
 * Figures of the peer, each mode in a process of its own that gets half of `seconds`; undefined where
 * it cannot run.
 */
export async function measureTorch(
  config: MambaConfig,
  batch: number,
  length: number,
  seconds: number,
): Promise<TorchFigure[] | undefined> {
  if (!await hasTorch()) return undefined;
  const figures: TorchFigure[] = [];
  for (const mode of ["eager", "compiled"] as const) {
    const spec = {
      vocab: config.paddedVocabSize,
      hidden: config.hiddenSize,
      layers: config.layers,
      state: config.stateSize,
      seconds: seconds / 2,
      batch,
      length,
      mode,
    };
    const { stdout } = await new Deno.Command("python3", {
      args: ["-c", SCRIPT, JSON.stringify(spec)],
      stdout: "piped",
      stderr: "null",
      // Workers that compile would outlive the process and hold its output open.
      env: { TORCHINDUCTOR_COMPILE_THREADS: "1" },
      signal: AbortSignal.timeout(500 * seconds),
    }).output();
    const line = new TextDecoder().decode(stdout).split("\n").find((line) => line.startsWith("{"));
    const told = line ? JSON.parse(line) as Omit<TorchFigure, "mode"> : undefined;
    const late = `it was not done in ${Math.round(seconds / 2)} s`;
    figures.push({ mode, ...told ?? { error: late } });
  }
  return figures;
}

/** Whether python3 has what the peer needs. */
async function hasTorch(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("python3", {
      args: ["-c", "import torch, transformers"],
      stdout: "null",
      stderr: "null",
      signal: AbortSignal.timeout(60_000),
    }).output();
    return success;
  } catch {
    return false; // no python3, or no permission to run it
  }
}
