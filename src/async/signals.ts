import { Logger } from '../base/index.js';

const logger = new Logger('zc.async.events');

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * Has `work` done when the process is told to end, before whoever was to be told by then is: the handlers that were there
 * take their turn after it; where there were none, the signal ends the process as it would have.
 *
 * A second signal does not wait. Handlers that are added later are called at once, as Node does it.
 *
 * @returns the function that puts the former handlers back; what somebody else has installed in our place stays.
 */
export function beforeSignalHandlers(work: (signal: NodeJS.Signals) => Promise<void>): () => void {
  const restores = SIGNALS.map((signal) => takeOver(signal, () => work(signal)));
  return () => {
    for (const restore of restores) restore();
  };
}

function takeOver(signal: NodeJS.Signals, work: () => Promise<void>): () => void {
  // The raw ones, so that those that are to be called once still are.
  const former = process.rawListeners(signal);
  let underWay = false;
  const restore = () => {
    const present = process.rawListeners(signal);
    if (!present.includes(handle)) return;
    process.removeAllListeners(signal);
    for (const listener of [...former, ...present.filter((each) => each !== handle)]) {
      process.on(signal, listener as NodeJS.SignalsListener);
    }
  };
  let passedOn = false;
  const passOn = (signalNumber: number) => {
    if (passedOn) return;
    passedOn = true;
    restore();
    if (former.length === 0) process.kill(process.pid, signal);
    else for (const listener of former) Reflect.apply(listener, process, [signal, signalNumber]);
  };
  const handle = (_: NodeJS.Signals, signalNumber: number) => {
    if (underWay) {
      passOn(signalNumber);
      return;
    }
    underWay = true;
    work()
      .catch((error) => logger.critical(`the dispatcher could not be deactivated on ${signal}`, error))
      .finally(() => passOn(signalNumber));
  };
  process.removeAllListeners(signal);
  process.on(signal, handle);
  return restore;
}
