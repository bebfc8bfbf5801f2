import { UsageError } from './output.js';

/** Where an agent's jobs run. */
export type PoolName = 'threads' | 'inline';

const POOL_NAMES: readonly string[] = ['threads', 'inline'] satisfies PoolName[];

/** An agent as the command line describes it. What is not said is left as it is, or becomes the default. */
export interface AgentDescription {
  readonly name: string;
  readonly size?: number;
  /** Persistent name of the function. */
  readonly chooser?: string;
  /** Persistent name of the function. */
  readonly filter?: string;
  readonly pool?: PoolName;
}

const FORM = 'NAME=SIZE[,chooser=FUNCTION | ,filter=FUNCTION][,pool=threads|inline]';

/** Reads `NAME=SIZE[,chooser=…|,filter=…][,pool=…]`. */
export function parseAgent(text: string): AgentDescription {
  const wrong = (detail: string) => new UsageError(`--agent ${text}: ${detail}; write ${FORM}`);
  const [head = '', ...rest] = text.split(',');
  const equals = head.indexOf('=');
  const name = equals < 0 ? head : head.slice(0, equals);
  if (name.trim() === '' || equals < 0) throw wrong('it has no name and size');
  const options = new Map<string, string>();
  for (const part of rest) {
    const [, key, value] = /^(chooser|filter|pool)=(.+)$/.exec(part) ?? [];
    if (key === undefined || value === undefined) throw wrong(`'${part}' is none of its options`);
    if (options.has(key)) throw wrong(`${key} is given twice`);
    options.set(key, value);
  }
  const chooser = options.get('chooser');
  const filter = options.get('filter');
  const pool = options.get('pool');
  if (chooser !== undefined && filter !== undefined) throw wrong('an agent has a chooser or a filter, not both');
  return {
    name,
    size: parseAgentSize(head.slice(equals + 1), `--agent ${text}`),
    ...(chooser === undefined ? {} : { chooser }),
    ...(filter === undefined ? {} : { filter }),
    ...(pool === undefined ? {} : { pool: parsePool(pool, `--agent ${text}`) }),
  };
}

/** Reads how many jobs an agent runs at a time. */
export function parseAgentSize(text: string, option: string): number {
  const size = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(size)) {
    throw new UsageError(`${option}: '${text}' is no size: write how many jobs run at a time, such as 3`);
  }
  return size;
}

/** Reads the name of a pool. */
export function parsePool(text: string, option: string): PoolName {
  if (!POOL_NAMES.includes(text)) {
    throw new UsageError(`${option}: '${text}' is no pool: write ${POOL_NAMES.join(' or ')}`);
  }
  return text as PoolName;
}

/** The agents that a command line asks for; none means that the default agent is to be there. */
export function agentsOf(options: {
  readonly agent: readonly AgentDescription[];
  readonly size?: number | undefined;
  readonly pool?: PoolName | undefined;
}): readonly AgentDescription[] {
  const agents = [...options.agent];
  const seen = new Set<string>();
  for (const { name } of agents) {
    if (seen.has(name)) throw new UsageError(`--agent ${name} is given twice`);
    seen.add(name);
  }
  const { size, pool } = options;
  if (size === undefined && pool === undefined) return agents;
  if (seen.has('main')) {
    throw new UsageError('--size and --pool are short for the agent main: say it in --agent main=… instead');
  }
  return [
    { name: 'main', ...(size === undefined ? {} : { size }), ...(pool === undefined ? {} : { pool }) },
    ...agents,
  ];
}
