// A job module: the functions that workers run, and that a client puts in a queue. It knows next to nothing of jobs,
// and does nothing when it is imported but give its functions their names.

import { persistable } from 'holdfast';

/** Throws `size` darts at a square, and counts those that land in the quarter circle. */
export function generateSample(size = 100_000) {
  let count = 0;
  for (let i = 0; i < size; i++) {
    if (Math.hypot(Math.random(), Math.random()) < 1) count++;
  }
  return [count, size];
}

/** Adds up the samples: it is given the completed jobs, one for each. */
export function processSamples(...jobs) {
  let count = 0;
  let size = 0;
  for (const { result } of jobs) {
    count += result[0];
    size += result[1];
  }
  return (4 * count) / size;
}

/** For an agent that runs nothing but samples. */
export function chooseSample(agent) {
  return agent.queue.claim((job) => job.callableName === 'pi.generateSample');
}

/** For an agent that runs everything else. */
export function chooseAnother(agent) {
  return agent.queue.claim((job) => job.callableName !== 'pi.generateSample');
}

persistable('pi', import.meta, { generateSample, processSamples, chooseSample, chooseAnother });
