// A thread that runs one seed after another, as it is told.
import { parentPort, workerData } from 'node:worker_threads';
import { SimulationFailed, type SimulationReport, simulate } from './simulation.js';

/** What became of a seed. */
export interface SeedOutcome {
  readonly seed: number;
  readonly report?: SimulationReport;
  /** What was found, with the last steps. */
  readonly failure?: string;
}

const { steps } = workerData as { readonly steps: number };

parentPort?.on('message', async (seed: number | 'end') => {
  if (seed === 'end') {
    parentPort?.close();
    return;
  }
  let outcome: SeedOutcome;
  try {
    outcome = { seed, report: await simulate(seed, { steps }) };
  } catch (error) {
    if (!(error instanceof SimulationFailed)) throw error;
    outcome = { seed, failure: error.message };
  }
  parentPort?.postMessage(outcome);
});
