/** A real server for a test: on a free loopback port, in an empty directory, stopped at the end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const START_MILLISECONDS = 30_000;
const STOP_MILLISECONDS = 20_000;

/** Server in a child process; `await using` stops it. */
export interface Server extends AsyncDisposable {
  /** Where it listens, `host:port`. */
  readonly address: string;
}

/** Start a server and wait until it listens. */
export async function startServer(): Promise<Server> {
  const directory = await mkdtemp(join(tmpdir(), "steelyard-"));
  const options = ["--listen", "127.0.0.1:0", "--data-dir", join(directory, "data")];
  const child = spawn(python(), ["-m", "steelyard_server", ...options], { env: environment() });
  const log: string[] = [];
  child.stderr.on("data", (bytes: Buffer) => log.push(bytes.toString()));
  const stop = async () => {
    await end(child);
    await rm(directory, { recursive: true });
  };
  const address = await listening(child);
  if (address === undefined) {
    await stop();
    throw new Error(`The server ended before it listened: ${log.join("")}`);
  }
  return { address, [Symbol.asyncDispose]: stop };
}

async function listening(child: ChildProcess): Promise<string | undefined> {
  const limit = setTimeout(() => child.kill("SIGKILL"), START_MILLISECONDS);
  try {
    for await (const line of createInterface({ input: child.stdout! })) {
      const found = /listening on (\S+)/.exec(line);
      if (found) return found[1];
    }
    return undefined;
  } finally {
    clearTimeout(limit);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const limit = setTimeout(() => child.kill("SIGKILL"), STOP_MILLISECONDS);
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
    clearTimeout(limit);
  }
  if (child.exitCode !== 0) throw new Error(`The server ended with ${child.exitCode ?? child.signalCode}`);
}

/** Interpreter that has the server: STEELYARD_PYTHON, else the environment that make sets up. */
function python(): string {
  const own = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));
  const path = process.env["STEELYARD_PYTHON"] ?? own;
  if (!existsSync(path)) {
    throw new Error(`There is no ${path}: run \`make test-typescript\`, or set STEELYARD_PYTHON.`);
  }
  return path;
}

/** Variables of this process without settings for a server. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("STEELYARD_")));
}
