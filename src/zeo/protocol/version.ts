/** First bytes of the stream in either direction: whoever speaks something else is told apart at once. */
export const MAGIC = Buffer.from('HOLDFAST', 'latin1');

/** Versions of the protocol that this implementation speaks, the preferred one first. */
export const PROTOCOL_VERSIONS: readonly number[] = [1];

/** The version that both sides speak and the server likes best, if there is one. */
export function commonVersion(offered: readonly number[]): number | undefined {
  return PROTOCOL_VERSIONS.find((version) => offered.includes(version));
}
