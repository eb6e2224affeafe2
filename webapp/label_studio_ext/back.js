// A link to the annotator's next case. Once an annotation is stored, its annotator is taken to the next case. Links to a project's settings lead home:
// Label Studio follows its own links without asking its server.
(() => {
  "use strict";
  if (document.documentElement.dataset.caseloop) return; // Label Studio loads parts of its pages again
  document.documentElement.dataset.caseloop = "here";
  const { next, home } = document.currentScript.dataset;
  const sent = /^\/api\/tasks\/(\d+)\/annotations\/?$/;
  const settings = /^\/projects\/\d+\/settings(\/|$)/;
  const send = window.fetch;

  window.fetch = async (input, init) => {
    const answer = await send.call(window, input, init);
    const isRequest = input instanceof Request;
    const method = (init && init.method) || (isRequest ? input.method : "GET");
    const task = sent.exec(new URL(isRequest ? input.url : input, location.href).pathname);
    if (answer.ok && method.toUpperCase() === "POST" && task) {
      location.assign(`${next}?done=${task[1]}`);
    }
    return answer;
  };

  document.addEventListener(
    "click",
    (event) => {
      const followed = event.target instanceof Element && event.target.closest("a[href]");
      if (followed && followed.origin === location.origin && settings.test(followed.pathname)) {
        event.preventDefault();
        event.stopPropagation();
        location.assign(home);
      }
    },
    true,
  );

  document.addEventListener("DOMContentLoaded", () => {
    const link = document.createElement("a");
    link.id = "caseloop-next";
    link.href = next;
    link.textContent = "Back to Caseloop: next case";
    document.body.append(link);
  });
})();
