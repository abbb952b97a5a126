import type { Route } from "../route.ts";
import { streamEvents } from "./events.ts";
import { getJob, listJobs } from "./jobs.ts";
import { getAccount, getNode, listNodes } from "./nodes.ts";
import { listOffers, postOffer } from "./offers.ts";
import { listOrders, listPeers } from "./orders.ts";
import { explainRequest, getRequest, postRequest } from "./requests.ts";
import { getSnapshot, listLeaves, proveOffer } from "./snapshots.ts";
import { getDeployment, getHealth, getReady, getStatus } from "./status.ts";

/** The whole API. The server and the OpenAPI document are both made of this list. */
export const routes: readonly Route[] = [
  getHealth,
  getReady,
  getStatus,
  getDeployment,
  postOffer,
  listOffers,
  postRequest,
  getRequest,
  explainRequest,
  listOrders,
  listPeers,
  listJobs,
  getJob,
  listNodes,
  getNode,
  getAccount,
  getSnapshot,
  listLeaves,
  proveOffer,
  streamEvents,
];
