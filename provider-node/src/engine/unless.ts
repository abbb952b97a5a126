/** What `promise` gives, unless the signal comes first; what is waited for goes on then. */
export async function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let drop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    drop = () => reject(signal.reason);
    signal.addEventListener("abort", drop);
  });
  if (signal.aborted) drop();
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    signal.removeEventListener("abort", drop);
  }
}
