// A process that serves a storage, told by its parent what to do: in memory, or the directory of its arguments.
import { setLogSink } from '#src/base/index.js';
import { recordConflictResolver } from '#src/odb/index.js';
import { LevelStorage } from '#src/odb/storage/level/level-storage.js';
import { MemoryStorage } from '#src/odb/storage/memory-storage.js';
import { type ServerOptions, StorageServer } from '#src/zeo/index.js';
import { concatResolver } from '../odb/remote/resolver.js';

/** One that knows nothing leaves the merging to the clients. */
const RESOLVERS = { texts: concatResolver, records: recordConflictResolver, nothing: { resolve: () => undefined } };

const {
  path,
  merges = 'nothing',
  address,
  ...options
} = JSON.parse(process.argv[2] ?? '{}') as Partial<ServerOptions> & {
  path?: string;
  merges?: keyof typeof RESOLVERS;
};
setLogSink(({ level, message }) => process.send?.({ kind: 'log', level, message }));
const resolver = { conflictResolver: RESOLVERS[merges] };
const storage = path === undefined ? new MemoryStorage(resolver) : await LevelStorage.open(path, resolver);
const server = await StorageServer.listen({ storage, address: address ?? 0, ...options });

process.on('message', (message: { kind: string; ms?: number }) => {
  if (message.kind === 'stats') process.send?.({ kind: 'stats', stats: server.stats });
  if (message.kind === 'block') {
    process.send?.({ kind: 'blocking' });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, message.ms ?? 0);
  }
  if (message.kind === 'close') {
    void server
      .close()
      .then(() => storage.close())
      .then(() => process.disconnect());
  }
});
process.send?.({ kind: 'ready', address: server.address });
