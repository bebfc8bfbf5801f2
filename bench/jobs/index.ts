export async function jobs(): Promise<void> {}
