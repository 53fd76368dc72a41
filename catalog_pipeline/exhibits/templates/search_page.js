"use strict";
(() => {
  const form = document.getElementById("filters");
  const grid = document.getElementById("products");
  const cards = [...grid.children].map((element) => ({
    element,
    rank: Number(element.dataset.rank),
    price: element.dataset.price === "" ? null : Number(element.dataset.price),
    store: [element.dataset.store],
    stock: [element.dataset.stock],
    currency: [element.dataset.currency],
    categories: JSON.parse(element.dataset.categories),
  }));
  const selects = [...form.querySelectorAll("[data-filter]")];
  const from = form.querySelector('[data-price="from"]');
  const to = form.querySelector('[data-price="to"]');
  const sort = form.querySelector("[data-sort]");
  const reason = document.getElementById("prices");

  // A product without a price is in no price range, and comes last where prices decide.
  const priced = (card, other, factor) => {
    if (card.price === null || other.price === null) {
      return (card.price === null) - (other.price === null);
    }
    return factor * (card.price - other.price);
  };
  const orders = {
    rank: (card, other) => card.rank - other.rank,
    cheap: (card, other) => priced(card, other, 1) || card.rank - other.rank,
    dear: (card, other) => priced(card, other, -1) || card.rank - other.rank,
  };
  const within = (card) => {
    const [low, high] = [from.value, to.value];
    if (low === "" && high === "") return true;
    if (card.price === null) return false;
    return (low === "" || card.price >= Number(low)) && (high === "" || card.price <= Number(high));
  };
  const chosen = (card) => selects.every(
    (select) => select.value === "" || card[select.dataset.filter].includes(select.value));

  // Amounts of several currencies are no order and no range, so they are not offered as one.
  const offerPrices = (candidates) => {
    const priced = candidates.filter((card) => card.price !== null);
    const currencies = [...new Set(priced.flatMap((card) => card.currency))].sort();
    const comparable = currencies.length === 1;
    const byPrice = [from, to, ...sort.querySelectorAll("[data-by-price]")];
    for (const control of byPrice) control.disabled = !comparable;
    if (!comparable) {
      [from.value, to.value] = ["", ""];
      if (sort.value !== "rank") sort.value = "rank";
    }
    for (const unit of form.querySelectorAll("[data-unit]")) {
      unit.textContent = comparable ? ` (${currencies[0]})` : "";
    }
    reason.hidden = comparable || candidates.length === 0;
    reason.textContent = priced.length === 0
      ? "No product here has a price to filter or sort by."
      : `Prices in ${currencies.slice(0, -1).join(", ")} and ${currencies.at(-1)} cannot be ` +
        "compared: choose one currency to filter or sort by price.";
  };
  const apply = () => {
    const candidates = cards.filter(chosen);
    offerPrices(candidates);
    const held = new Set(candidates.filter(within));
    for (const card of cards) card.element.hidden = !held.has(card);
    grid.append(...cards.toSorted(orders[sort.value]).map((card) => card.element));
    const all = `${cards.length} ${cards.length === 1 ? "product" : "products"}`;
    document.getElementById("shown").textContent =
      held.size === cards.length ? all : `${held.size} of ${all}`;
    document.getElementById("nothing").hidden = held.size > 0;
  };
  form.addEventListener("input", apply);
  // The fields are emptied only after the event.
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
