/** What an indexer is told to be: one that leads when nobody else does, or one that never leads. */
export const roles = ["auto", "replica"] as const;
export type ConfiguredRole = (typeof roles)[number];

/** What it is: `leader` writes what follows from the chain and matches, `standby` would, `replica` never does. */
export const currentRoles = ["leader", "standby", "replica"] as const;
export type Role = (typeof currentRoles)[number];
