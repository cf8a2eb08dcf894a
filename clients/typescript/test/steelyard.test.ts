/** The generated stubs alone are enough to use a registry. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { BlobService, type WriteBlobsRequestSchema } from "steelyard/v1/blob_service_pb.js";
import { FileRole } from "steelyard/v1/content_pb.js";
import { ModelService } from "steelyard/v1/model_service_pb.js";
import { type ReadFileHeader, VersionService } from "steelyard/v1/version_service_pb.js";

import { startServer } from "./server.ts";

const CHUNK_BYTES = 1 << 20;
const MODEL = "default/fraud";
const PATH = "weights/model.bin";

test("a file uploaded with the stubs is read back from its version", { timeout: 60_000 }, async () => {
  await using server = await startServer();
  const transport = createGrpcTransport({
    baseUrl: `http://${server.address}`,
    defaultTimeoutMs: 30_000,
  });
  const versions = createClient(VersionService, transport);
  const data = Buffer.alloc(2_250_000, "steelyard");
  const digest = digestOf(data);
  const file = { path: PATH, digest, sizeBytes: BigInt(data.length), role: FileRole.WEIGHTS };

  await createClient(ModelService, transport).createModel({ name: MODEL });
  const stored = await upload(transport, data);
  const { version } = await versions.createVersion({ model: MODEL, content: { files: [file] } });
  assert(version);
  const [header, read] = await readFile(versions, version.number);

  assert.equal(stored, digest);
  assert.equal(version.number, 1n);
  assert.equal(header.digest, version.digest);
  assert.equal(header.file?.digest, digest);
  assert.equal(digestOf(read), digest);
  assert(read.equals(data), "the bytes read are not those written");
});

type WriteBlobsInit = MessageInitShape<typeof WriteBlobsRequestSchema>;

/** Send one blob from its first byte, and return the digest that the server computed. */
async function upload(transport: Transport, data: Buffer): Promise<string | undefined> {
  let digest: string | undefined;
  for await (const { answer } of createClient(BlobService, transport).writeBlobs(messages(data))) {
    if (answer.case === "finished") digest = answer.value.digest;
  }
  return digest;
}

async function* messages(data: Buffer): AsyncGenerator<WriteBlobsInit> {
  const sizeBytes = BigInt(data.length);
  yield { header: { namespace: "default", sizeBytes, digest: digestOf(data), fromStart: true } };
  for (let begin = 0; begin < data.length; begin += CHUNK_BYTES) {
    yield { data: data.subarray(begin, begin + CHUNK_BYTES) };
  }
  yield { finish: {} };
}

async function readFile(
  versions: Client<typeof VersionService>,
  number: bigint,
): Promise<[ReadFileHeader, Buffer]> {
  const version = { model: MODEL, selector: { case: "number", value: number } } as const;
  let header: ReadFileHeader | undefined;
  const parts: Uint8Array[] = [];
  for await (const message of versions.readFile({ version, path: PATH })) {
    header ??= message.header;
    parts.push(message.data);
  }
  assert(header);
  return [header, Buffer.concat(parts)];
}

function digestOf(data: Uint8Array): string {
  return `sha256:${createHash("sha256").update(data).digest("hex")}`;
}
