/**
 * The same model in PyTorch's transformers on the same device, where python3 has both: a peer to
 * measure against, never needed.
 * @module
 */
import type { MambaConfig } from "../model/config.ts";

/** One way to run the peer. */
export interface TorchFigure {
  mode: "eager" | "compiled";
  tokens_per_second: number;
}

/** Trains on random tokens in bf16; prints one JSON line a mode. */
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
    best = float("inf")
    for i in range(5):
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
for mode in ["eager", "compiled"]:
    try:
        run = model if mode == "eager" else torch.compile(model)
        print(json.dumps({"mode": mode, "tokens_per_second": measure(run)}), flush=True)
    except Exception as error:
        print(json.dumps({"mode": mode, "error": str(error)[:200]}), file=sys.stderr, flush=True)
`;

/** Figures of the peer; undefined where it cannot run. Stops after two minutes with what there is. */
export async function measureTorch(
  config: MambaConfig,
  batch: number,
  length: number,
): Promise<TorchFigure[] | undefined> {
  const spec = {
    vocab: config.paddedVocabSize,
    hidden: config.hiddenSize,
    layers: config.layers,
    state: config.stateSize,
    batch,
    length,
  };
  try {
    const { stdout } = await new Deno.Command("python3", {
      args: ["-c", SCRIPT, JSON.stringify(spec)],
      stdout: "piped",
      stderr: "null",
      signal: AbortSignal.timeout(120_000),
    }).output();
    const lines = new TextDecoder().decode(stdout).split("\n").filter((line) =>
      line.startsWith("{")
    );
    return lines.length ? lines.map((line) => JSON.parse(line) as TorchFigure) : undefined;
  } catch {
    return undefined; // no python3, or no permission to run it
  }
}
