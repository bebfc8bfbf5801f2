import { Logger } from '../../base/index.js';
import type { Doubt, Storage } from '../storage/storage.js';

const logger = new Logger('holdfast.db');

/** Ends the doubts of some storages, as far as those that know are among them. Failures are logged; what stays in doubt is tried again. */
export async function settleDoubts(storages: readonly Storage[]): Promise<void> {
  for (const storage of storages) {
    try {
      for (const doubt of await storage.doubts.list()) await settle(storage, doubt, storages);
    } catch (error) {
      logger.warning(`transactions of several databases may stay in doubt in ${storage.name} for now`, error);
    }
  }
}

async function settle(storage: Storage, doubt: Doubt, storages: readonly Storage[]): Promise<void> {
  const decider = storages.find(({ identity }) => identity === doubt.decider);
  if (!decider || storage.isReadOnly) return;
  const happened = (await decider.outcome(doubt.commitId)) !== undefined;
  await storage.doubts.resolve(doubt.commitId, happened);
  logger.info(
    `a transaction that was in doubt in ${storage.name} has ${happened ? '' : 'not '}happened, says ${decider.name}`,
  );
}
