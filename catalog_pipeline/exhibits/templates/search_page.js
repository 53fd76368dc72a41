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
  const apply = () => {
    let shown = 0;
    for (const card of cards) {
      const holds = within(card) && selects.every(
        (select) => select.value === "" || card[select.dataset.filter].includes(select.value));
      card.element.hidden = !holds;
      shown += holds;
    }
    grid.append(...cards.toSorted(orders[sort.value]).map((card) => card.element));
    document.getElementById("shown").textContent = `${shown} of ${cards.length} shown`;
    document.getElementById("nothing").hidden = shown > 0;
  };
  form.addEventListener("input", apply);
  // The fields are emptied only after the event.
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
})();
