/** A code block of a document that is run. */
export interface Block {
  /** Line of its first code line, counted from 1. */
  readonly line: number;
  readonly code: string;
  readonly kind: 'ts' | 'file' | 'sh';
  /** Whose scope a `ts` block belongs to. */
  readonly session: string;
  /** The file that a `file` block is. */
  readonly file: string | undefined;
  /** A program without which the block is skipped. */
  readonly needs: string | undefined;
}

const FENCE = /^```(\S*)\s*(.*)$/;
const RUN = new Set(['ts', 'js', 'sh']);

/**
 * Finds the blocks of a Markdown document that are run, in order.
 *
 * - `ts`: code of the document's program, or of the one that `session=NAME` names.
 * - `ts file=NAME.ts`: a file.
 * - `sh`: lines that begin with `$ ` are commands; the lines after one are what it prints.
 * - `needs=PROGRAM` skips a block where the program is missing; `no-run: REASON` leaves it out.
 *
 * @throws Error that names the line of a block that has none of these forms.
 */
export function parseBlocks(text: string): Block[] {
  const blocks: Block[] = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const [, language = '', info = ''] = FENCE.exec(lines[i] as string) ?? [];
    if (!FENCE.test(lines[i] as string)) continue;
    const first = i + 1;
    for (i++; i < lines.length && lines[i] !== '```'; i++);
    if (i === lines.length) throw new Error(`line ${first}: this code block has no end`);
    if (!RUN.has(language)) continue;
    if (info.startsWith('no-run')) {
      if (!/^no-run: \S/.test(info)) throw new Error(`line ${first}: no-run needs its reason: 'no-run: because …'`);
      continue;
    }
    blocks.push(blockOf(language, info, lines.slice(first, i).join('\n'), first + 1));
  }
  return blocks;
}

function blockOf(language: string, info: string, code: string, line: number): Block {
  const options = new Map<string, string>();
  for (const word of info.split(/\s+/).filter((each) => each !== '')) {
    const [, name, value] = /^(session|file|needs)=(\S+)$/.exec(word) ?? [];
    if (name === undefined || value === undefined)
      throw new Error(`line ${line - 1}: '${word}' is no option of a block`);
    options.set(name, value);
  }
  const file = options.get('file');
  return {
    line,
    code,
    kind: language === 'sh' ? 'sh' : file === undefined ? 'ts' : 'file',
    session: options.get('session') ?? 'main',
    file,
    needs: options.get('needs'),
  };
}
