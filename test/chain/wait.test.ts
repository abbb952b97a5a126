import { getEventListeners } from "node:events";
import { createAlarm } from "@berth/chain";
import { expect } from "chai";

describe("createAlarm", () => {
  it("leaves nothing at the signal, however a wait ends", async () => {
    const { signal } = new AbortController();
    const alarm = createAlarm();
    for (let i = 0; i < 50; i++) {
      await alarm.wait(0, signal);
      const rung = alarm.wait(undefined, signal);
      alarm.ring();
      await rung;
    }
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  it("remembers a ring for the next wait, and for that one only", async () => {
    const { signal } = new AbortController();
    const alarm = createAlarm();
    alarm.ring();
    await alarm.wait(undefined, signal);
    let isOver = false;
    const second = alarm.wait(undefined, signal).then(() => {
      isOver = true;
    });
    await new Promise(setImmediate);
    expect(isOver).to.equal(false);
    alarm.ring();
    await second;
  });

  it("ends when the signal aborts, before the wait or during it", async () => {
    const stop = new AbortController();
    const alarm = createAlarm();
    const waiting = alarm.wait(undefined, stop.signal);
    stop.abort();
    await waiting;
    await alarm.wait(undefined, stop.signal);
    expect(getEventListeners(stop.signal, "abort")).to.have.length(0);
  });
});
