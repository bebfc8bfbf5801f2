// A process that opens storages and serves each at a port of its own, told by its parent which.
import { appendResolver } from 'holdfast/conformance';
import 'holdfast/odb';
import type { BaseStorage } from '#src/odb/storage/base-storage.js';
import { DemoStorage } from '#src/odb/storage/demo-storage.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { StorageServer } from '#src/zeo/index.js';

/** What the parent asks for. */
export type Request =
  | {
      readonly kind: 'open';
      readonly path: string | undefined;
      /** Serve changes over what is at the path. */
      readonly isDemo: boolean;
      readonly merges: boolean;
      readonly readOnly: boolean;
    }
  | { readonly kind: 'close'; readonly address: string };

const served = new Map<string, { readonly server: StorageServer; readonly storage: BaseStorage }>();

async function open({ path, isDemo, merges, readOnly }: Extract<Request, { kind: 'open' }>): Promise<string> {
  const options = { readOnly, ...(merges ? { conflictResolver: appendResolver } : {}) };
  const plain = path === undefined ? new MemoryStorage(options) : await LevelStorage.open(path, options);
  const storage = isDemo ? await DemoStorage.open(plain, options) : plain;
  const server = await StorageServer.listen({ storage, address: 0 });
  served.set(server.address, { server, storage });
  return server.address;
}

async function close(address: string): Promise<string> {
  await served.get(address)?.server.close();
  await served.get(address)?.storage.close();
  served.delete(address);
  return address;
}

process.on('message', ({ id, request }: { id: number; request: Request }) => {
  void (request.kind === 'open' ? open(request) : close(request.address)).then(
    (address) => process.send?.({ id, address }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
