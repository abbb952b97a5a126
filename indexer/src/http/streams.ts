import { MarketError } from "@berth/protocol";

/** How many streams are open, so that nobody can take them all. */
export interface Streams {
  readonly open: number;
  /** Readers who were dropped because they were too slow. */
  readonly slow: number;
  /** Throws TOO_MANY_STREAMS. Call what it returns when the stream has ended. */
  enter(sender: string): () => void;
  dropped(): void;
}

export interface StreamLimits {
  total: number;
  perAddress: number;
}

export function createStreams({ total, perAddress }: StreamLimits): Streams {
  const bySender = new Map<string, number>();
  let open = 0;
  let slow = 0;
  return {
    get open() {
      return open;
    },
    get slow() {
      return slow;
    },
    enter(sender) {
      const mine = bySender.get(sender) ?? 0;
      if (open >= total || mine >= perAddress) {
        throw new MarketError("TOO_MANY_STREAMS", "Too many streams are open.", {
          hint: `One address may have ${perAddress}. Close one, or read one stream for several purposes.`,
          retryable: true,
        });
      }
      open++;
      bySender.set(sender, mine + 1);
      let left = false;
      return () => {
        if (left) return;
        left = true;
        open--;
        const rest = (bySender.get(sender) ?? 1) - 1;
        if (rest === 0) bySender.delete(sender);
        else bySender.set(sender, rest);
      };
    },
    dropped() {
      slow++;
    },
  };
}
