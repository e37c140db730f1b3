/** A worker that says that it has begun, then computes for ever and hears nothing. @module */

const scope = self as unknown as { onmessage: () => void };

scope.onmessage = () => {
  new BroadcastChannel("looping worker").postMessage("begun");
  // Not at once: the message has to leave.
  setTimeout(() => {
    for (let n = 0;; n++) Math.sin(n);
  }, 50);
};
