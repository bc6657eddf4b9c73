/** A canvas with its still layer, drawn once for a video, and what moves, drawn for every frame. */
class Panel {
  constructor(id, margins) {
    this.canvas = at(id);
    this.margins = margins;
    this.still = document.createElement("canvas");
  }
  prepare() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    for (const canvas of [this.canvas, this.still]) {
      canvas.width = Math.round(this.width * ratio);
      canvas.height = Math.round(this.height * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const [top, right, bottom, left] = this.margins;
    this.box = { left, top, right: this.width - right, bottom: this.height - bottom };
    this.drawStill(this.still.getContext("2d"));
  }
  draw() {
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.width, this.height);
    pen.drawImage(this.still, 0, 0, this.width, this.height);
    this.drawMoving(pen);
  }
  x(value) {
    const [low, high] = this.limits.x;
    return this.box.left + ((value - low) / (high - low)) * (this.box.right - this.box.left);
  }
  y(value) {
    const [low, high] = this.limits.y;
    return this.box.bottom - ((value - low) / (high - low)) * (this.box.bottom - this.box.top);
  }
  clip(pen) {
    const { left, top, right, bottom } = this.box;
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
  }
  line(pen, points, model, width, opacity) {
    pen.save();
    this.clip(pen);
    pen.globalAlpha = opacity;
    pen.strokeStyle = colour(model);
    pen.lineWidth = width;
    pen.setLineDash(model.dash);
    pen.beginPath();
    let down = false;
    for (const point of points) {
      if (point === null || point.includes(null)) { down = false; continue; }
      const [x, y] = [this.x(point[0]), this.y(point[1])];
      down ? pen.lineTo(x, y) : pen.moveTo(x, y);
      down = true;
    }
    pen.stroke();
    pen.restore();
  }
  /** A dot; hollow and at the border where the point lies outside. */
  dot(pen, point, model) {
    if (point === null || point.includes(null)) return;
    const { left, top, right, bottom } = this.box, [x, y] = [this.x(point[0]), this.y(point[1])];
    const [inX, inY] = [Math.min(Math.max(x, left), right), Math.min(Math.max(y, top), bottom)];
    const outside = inX !== x || inY !== y;
    pen.beginPath();
    pen.arc(inX, inY, outside ? 4 : 5.5, 0, 2 * Math.PI);
    pen.fillStyle = outside ? ink("--page") : colour(model);
    pen.fill();
    pen.lineWidth = outside ? 2 : 1.5;
    pen.strokeStyle = outside ? colour(model) : ink("--page");
    pen.stroke();
  }
  axes(pen, labels, ticks) {
    const { left, top, right, bottom } = this.box;
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.fillStyle = ink("--soft");
    pen.strokeStyle = ink("--line");
    pen.textAlign = "center";
    for (const value of ticks.x) {
      pen.strokeRect(this.x(value), top, 0, bottom - top);
      pen.fillText(written(value), this.x(value), bottom + 15);
    }
    pen.textAlign = "right";
    for (const value of ticks.y) {
      pen.strokeRect(left, this.y(value), right - left, 0);
      pen.fillText(written(value), left - 6, this.y(value) + 4);
    }
    pen.textAlign = "center";
    pen.fillText(labels.x, (left + right) / 2, bottom + 32);
    pen.save();
    pen.translate(12, (top + bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(labels.y, 0, 0);
    pen.restore();
  }
}

const written = (value) => String(value).replace("-", "−");

/** Three to seven round numbers within [low, high]. */
function ticks([low, high]) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => size >= rough);
  const first = Math.ceil(low / step), n = Math.floor(high / step) - first + 1;
  return Array.from({ length: n }, (_, k) => Number(((first + k) * step).toPrecision(6)));
}

/** The true frame in the middle of a wider view, and where each path sees the balls. */
class Table extends Panel {
  get limits() {
    const spare = chosen().balls ? data.table / 6 : 0;
    return { x: [-spare, data.table + spare], y: [data.table + spare, -spare] }; // y runs down
  }
  drawStill(pen) {
    pen.clearRect(0, 0, this.width, this.height);
    pen.fillStyle = ink("--patch");
    pen.fillRect(0, 0, this.width, this.height);
  }
  drawMoving(pen) {
    const frame = Math.round((data.start + state.t) * data.frames.per_step), { columns, size } = data.frames;
    const [left, top] = [(frame % columns) * size, Math.floor(frame / columns) * size];
    const side = this.x(data.table) - this.x(0);
    if (sheet.complete && sheet.naturalWidth) {
      pen.imageSmoothingQuality = "high";
      pen.drawImage(sheet, left, top, size, size, this.x(0), this.y(0), side, side);
    }
    for (const model of shown()) if (chosen().paths[model.name].balls) this.ghosts(pen, model);
  }
  ghosts(pen, model) {
    const balls = between(chosen().paths[model.name].balls, state.t);
    if (balls === null) return;
    const radius = this.x(data.radius) - this.x(0);
    [[balls[0], balls[1]], [balls[2], balls[3]]].forEach(([x, y], ball) => {
      if (x === null || y === null) return;
      this.ghost(pen, this.x(x), this.y(y), radius, model, data.ball_colours[ball]);
    });
  }
  ghost(pen, x, y, radius, model, ball) {
    const tint = model.name === data.truth ? "#ffffff" : model.colour, edge = 9;
    const [inX, inY] = [x, y].map((v, i) => Math.min(Math.max(v, edge), [this.width, this.height][i] - edge));
    pen.save();
    pen.lineWidth = 3;
    pen.strokeStyle = tint;
    if (Math.hypot(x - inX, y - inY) > radius) { // out of sight: an arrow at the border points to it
      pen.translate(inX, inY);
      pen.rotate(Math.atan2(y - inY, x - inX));
      pen.beginPath();
      pen.moveTo(-7, -7); pen.lineTo(7, 0); pen.lineTo(-7, 7); pen.closePath();
      pen.fillStyle = tint;
      pen.fill();
    } else {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.globalAlpha = model.name === data.truth ? 0 : 0.3;
      pen.fillStyle = tint;
      pen.fill();
      pen.globalAlpha = 0.75;
      pen.lineWidth = 5;
      pen.strokeStyle = "#ffffff"; // a rim, so that dark colours show on black
      if (model.name !== data.truth) pen.stroke();
      pen.globalAlpha = 1;
      pen.lineWidth = model.name === data.truth ? 1.5 : 3;
      pen.setLineDash(model.name === data.truth ? [2, 3] : model.dash);
      pen.strokeStyle = tint;
      pen.stroke();
      pen.beginPath();
      pen.arc(x, y, 3.5, 0, 2 * Math.PI);
      pen.fillStyle = ball;
      pen.fill();
    }
    pen.restore();
  }
}

/** z in a plane: the whole path faint, what is past of it strong, the training data behind. */
class Orbit extends Panel {
  get plane() { return data.planes[state.plane]; }
  get limits() { return this.plane.limits; }
  points(model) { return chosen().paths[model.name].planes[state.plane]; }
  drawStill(pen) {
    pen.clearRect(0, 0, this.width, this.height);
    this.axes(pen, this.plane.labels, { x: ticks(this.limits.x), y: ticks(this.limits.y) });
    pen.fillStyle = ink("--cloud");
    for (const [x, y] of this.plane.cloud) pen.fillRect(this.x(x) - 1, this.y(y) - 1, 2, 2);
    for (const model of shown()) this.line(pen, this.points(model), model, 1.5, 0.45);
  }
  drawMoving(pen) {
    for (const model of shown()) {
      const points = this.points(model), now = between(points, state.t);
      this.line(pen, [...points.slice(0, Math.floor(state.t) + 1), now], model, 3, 1);
    }
    for (const model of shown()) this.dot(pen, between(this.points(model), state.t), model);
  }
}

/** A quantity over time, with a cursor; dragging moves in time. */
class Curve extends Panel {
  constructor(id, quantity, range, yardstick, unit) {
    super(id, [8, 12, 40, 48]);
    Object.assign(this, { quantity, range, yardstick, unit });
    const seek = (event) => {
      const { left, right } = this.box, x = event.clientX - this.canvas.getBoundingClientRect().left;
      pause();
      goTo(Math.round(((x - left) / (right - left)) * data.n_steps));
    };
    this.canvas.addEventListener("pointerdown", (event) => { this.canvas.setPointerCapture(event.pointerId); seek(event); });
    this.canvas.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  }
  get limits() { return { x: [0, data.n_steps], y: this.range }; }
  drawStill(pen) {
    const { left, top, bottom } = this.box, trained = this.x(Math.min(data.trained, data.n_steps));
    pen.clearRect(0, 0, this.width, this.height);
    pen.fillStyle = ink("--patch");
    pen.fillRect(left, top, trained - left, bottom - top);
    const labels = { x: `step t (${data.seconds.toFixed(2)} s each; grey: trained on)`, y: this.unit };
    this.axes(pen, labels, { x: ticks(this.limits.x), y: ticks(this.range) });
    pen.strokeStyle = ink("--soft");
    pen.setLineDash([2, 3]);
    for (const value of this.yardstick) pen.strokeRect(left, this.y(value), this.box.right - left, 0);
    pen.setLineDash([]);
    for (const model of shown()) this.line(pen, this.points(model), model, 1.8, 0.9);
  }
  points(model) {
    return chosen().paths[model.name][this.quantity].map((value, t) => [t, value]);
  }
  drawMoving(pen) {
    pen.fillStyle = ink("--ink");
    pen.fillRect(this.x(state.t) - 0.5, this.box.top, 1, this.box.bottom - this.box.top);
    for (const model of shown()) this.dot(pen, between(this.points(model), state.t), model);
  }
}
