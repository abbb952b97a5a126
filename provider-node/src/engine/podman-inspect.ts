import { z } from "zod";

/** podman writes the year 1 for "never". */
const realDate = z
  .string()
  .transform((text) => new Date(text))
  .transform((date) => (date.getUTCFullYear() > 1 ? date : undefined));

const stateSchema = z.object({
  Status: z.string(),
  ExitCode: z.number(),
  StartedAt: realDate,
  FinishedAt: realDate,
  /** Process id of the container's monitor. */
  ConmonPid: z.number().optional(),
  /** Of the container's first process. */
  Pid: z.number().optional(),
});

/** What `podman container inspect` prints of a container on this machine. */
export const inspectSchema = z.array(
  z.object({
    Id: z.string(),
    State: stateSchema,
    Config: z.object({ Labels: z.record(z.string(), z.string()) }),
  }),
);
export type ContainerInspect = z.infer<typeof inspectSchema>[number];

/** The same from another machine, where process ids and labels say nothing here. */
export const inspectedSchema = z.tuple([z.object({ State: stateSchema.omit({ ConmonPid: true, Pid: true }) })]);
export type Inspected = z.infer<typeof inspectedSchema>[0];
