import { type Listening, listen as listenAt } from "@berth/content";
import type { Express } from "express";

/** Where to listen, and which settings say so. */
export interface Place {
  host: string;
  port: number;
  connectionsPerAddress?: number;
  settings: { host: string; port: string };
}

/** Serves `app` until it is closed. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function listen(app: Express, { settings, ...place }: Place): Promise<Listening> {
  const hints = {
    port: `Stop that program, or choose another port with ${settings.port}.`,
    host: `Choose an address of this machine with ${settings.host}, and a port above 1023 unless you are root.`,
  };
  return await listenAt(app, { ...place, who: "The node", hints });
}
