/** A door that lets few in at a time and keeps few waiting, senders in turn. */
export interface Gate {
  /** Runs `work` when it is its turn. Throws what `busy` makes when it is never going to be. */
  pass<T>(sender: string, work: () => Promise<T>): Promise<T>;
  readonly atWork: number;
  readonly waiting: number;
  /** How many were turned away so far. */
  readonly refused: number;
}

export interface GateSize {
  /** At work at a time; one sender has half of them at most. */
  atWork: number;
  waiting: number;
}

interface Waiting {
  enter(): void;
  refuse(error: Error): void;
}

/**
 * Whoever waits is let in by turns, one of each sender. When too many wait, the last one of the sender with the most goes:
 * a flood is in its own way and in nobody else's.
 */
export function createGate(size: GateSize, busy: () => Error): Gate {
  /** In the order of their turns. */
  const queues = new Map<string, Waiting[]>();
  const working = new Map<string, number>();
  const share = Math.max(1, Math.floor(size.atWork / 2));
  let [atWork, waiting, refused] = [0, 0, 0];

  function mayEnter(sender: string): boolean {
    return atWork < size.atWork && (working.get(sender) ?? 0) < share;
  }

  function enter(sender: string): void {
    atWork += 1;
    working.set(sender, (working.get(sender) ?? 0) + 1);
  }

  function leave(sender: string): void {
    atWork -= 1;
    const left = (working.get(sender) ?? 0) - 1;
    if (left > 0) working.set(sender, left);
    else working.delete(sender);
    const next = [...queues.keys()].find(mayEnter);
    if (next !== undefined) letIn(next);
  }

  function letIn(sender: string): void {
    const queue = queues.get(sender) ?? [];
    const first = queue.shift();
    queues.delete(sender);
    if (queue.length > 0) queues.set(sender, queue);
    waiting -= 1;
    enter(sender);
    first?.enter();
  }

  function makeRoom(sender: string): void {
    if (waiting < size.waiting) return;
    refused += 1;
    const [longest] = [...queues].sort(([, a], [, b]) => b.length - a.length);
    const own = queues.get(sender)?.length ?? 0;
    if (longest === undefined || longest[1].length <= own + 1) throw busy();
    longest[1].pop()?.refuse(busy());
    waiting -= 1;
  }

  function turnOf(sender: string): Promise<void> {
    makeRoom(sender);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const queue = queues.get(sender) ?? [];
    queue.push({ enter: resolve, refuse: reject });
    queues.set(sender, queue);
    waiting += 1;
    return promise;
  }

  return {
    async pass(sender, work) {
      if (mayEnter(sender)) enter(sender);
      else await turnOf(sender);
      try {
        return await work();
      } finally {
        leave(sender);
      }
    },
    get atWork() {
      return atWork;
    },
    get waiting() {
      return waiting;
    },
    get refused() {
      return refused;
    },
  };
}
