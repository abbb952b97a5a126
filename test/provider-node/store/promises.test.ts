import { expect } from "chai";
import { openDatabase } from "../../../provider-node/src/store/open.ts";
import { createPromises } from "../../../provider-node/src/store/promises.ts";

describe("createPromises", () => {
  it("remembers until when each trait was offered, over a restart", () => {
    const database = openDatabase(":memory:");
    const first = createPromises(database);
    expect(first.had("isolation-gvisor", 0)).to.equal(true); // nobody is matched in 1970
    expect(first.had("isolation-gvisor", 1)).to.equal(false);
    first.note(["isolation-gvisor", "arch-amd64"], 100);
    first.note(["arch-amd64"], 200);
    first.note(["arch-amd64"], 150);
    const again = createPromises(database);
    expect(again.had("isolation-gvisor", 100)).to.equal(true);
    expect(again.had("isolation-gvisor", 101)).to.equal(false);
    expect(again.had("arch-amd64", 200)).to.equal(true);
    expect(again.had("attest-tpm2", 1)).to.equal(false);
    database.close();
  });
});
