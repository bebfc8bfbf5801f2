export async function zeo(): Promise<void> {}
