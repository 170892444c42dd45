// Where a page's study comes from: the server, which may have news, or the page itself, when it is a file of its own.

const embedded = document.getElementById("embedded");

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const server = {
  live: true,
  study: () => fetched("/study.json"),
  trial: (number) => fetched(`/trials/${number}.json`),
  figures: () => fetched("/figures.json"),
  preview: (number) => `/previews/${number}`,
  picture: (name) => `/pictures/${name}.png`,
  // Calls back with every change, as long as the page is looked at.
  async watch(first, changed) {
    let known = first;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      if (document.hidden) continue;
      const now = await fetch("/state").then((answer) => answer.text()).catch(() => known);
      if (now === known) continue;
      known = now;
      await changed();
    }
  },
};

function inside(held) {
  return {
    live: false,
    study: async () => held.study,
    trial: async (number) => held.trials[number] ?? null,
    figures: async () => held.figures,
    preview: (number) => held.media[number] ?? "",
    picture: (name) => held.pictures[name],
    watch: () => {},
  };
}

export const source = embedded ? inside(JSON.parse(embedded.textContent)) : server;
