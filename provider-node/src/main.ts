#!/usr/bin/env node
import "@berth/protocol/compile-cache";

await import("./cli/main.ts");
