/** A set of bounded size that forgets what was not asked for longest. */
export interface Recent {
  readonly size: number;
  has(key: string): boolean;
  add(key: string): void;
}

export function createRecent(max: number): Recent {
  const keys = new Set<string>();

  function add(key: string): void {
    keys.delete(key);
    keys.add(key);
    const [oldest] = keys;
    if (keys.size > max && oldest !== undefined) keys.delete(oldest);
  }

  return {
    get size() {
      return keys.size;
    },
    has(key) {
      if (!keys.has(key)) return false;
      add(key);
      return true;
    },
    add,
  };
}
