export { type Config, type ConfigSources, configSchema, loadConfig } from "./config.ts";
export { type Daemon, type ReadyFacts, startDaemon } from "./jobs/daemon.ts";
export { type Diagnosis, diagnose } from "./jobs/doctor.ts";
