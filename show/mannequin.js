// How the page paints the mannequin: 1. its skin  2. with WebGL  3. without it.
//
// player.py puts this file into player.html. Used from there: bodies, camera, project, figure,
// gl, rowsOnStage, follow, isOn, pose, matrixOfView and TALL.

// ---- 1. The skin: rings around sums of points. mannequin.py says which; surface() in skin.py
// ---- does the same as skin() ------------------------------------------------------------------
const COLOURS = ["left", "right", "trunk", "pelvis", "head", "eye", "dark", "lips", "stand"];

function readPart([colour, sides, rings]) {
  if (!gl) sides = Math.max(Math.round(sides * 0.45), 5);  // a plain canvas is slow
  return { colour: COLOURS.indexOf(colour), sides, count: rings.length,
    middles: rings.map(ring => ring[0]), across: rings.map(ring => ring[1]),
    wide: rings.map(ring => ring[2] * TALL), deep: rings.map(ring => ring[3] * TALL) };
}

const circles = new Map();                                 // sides -> cosines and sines
function circle(sides) {
  if (!circles.has(sides)) {
    const angles = Array.from({ length: sides }, (_, n) => n * 2 * Math.PI / sides);
    circles.set(sides, [angles.map(Math.cos), angles.map(Math.sin)]);
  }
  return circles.get(sides);
}

function sumOf(terms, now, to, at) {                       // terms: point, weight, point, weight...
  let x = 0, y = 0, z = 0;
  for (let n = 0; n < terms.length; n += 2) {
    const p = 3 * terms[n], weight = terms[n + 1];
    x += weight * now[p]; y += weight * now[p + 1]; z += weight * now[p + 2];
  }
  to[at] = x; to[at + 1] = y; to[at + 2] = z;
}

const CAPS = [[0, 1], [0.5, Math.sqrt(0.75)], [Math.sqrt(0.75), 0.5]];   // cosines, sines
const rows = part => part.count + 2 * CAPS.length;
const mids = new Float32Array(3 * 128), side = new Float32Array(3);

function skin(part, now, out, at) {
  // Writes the part's corners into `out`, six numbers each: place and normal -> where it ended.
  const { sides, count, wide, deep } = part, [cosines, sines] = circle(sides), last = count - 1;
  for (let k = 0; k < count; k++) sumOf(part.middles[k], now, mids, 3 * k);
  const whole = [0, 1, 2].map(n => Math.abs(mids[3 * last + n] - mids[n]));
  const seed = whole.indexOf(Math.min(...whole));          // a round part: the axis it is least on
  for (let k = 0; k < count; k++) {
    const p = Math.max(k - 1, 0), n = Math.min(k + 1, last);
    let tx = mids[3 * n] - mids[3 * p], ty = mids[3 * n + 1] - mids[3 * p + 1];
    let tz = mids[3 * n + 2] - mids[3 * p + 2];
    const step = Math.max(Math.hypot(tx, ty, tz), 1e-9);
    tx /= step; ty /= step; tz /= step;
    const slope = (wide[n] + deep[n] - wide[p] - deep[p]) / 2 / step;
    if (part.across[k]) sumOf(part.across[k], now, side, 0);
    else for (let m = 0; m < 3; m++) side[m] = m === seed ? 1 : 0;
    const lean = side[0] * tx + side[1] * ty + side[2] * tz;
    let ax = side[0] - lean * tx, ay = side[1] - lean * ty, az = side[2] - lean * tz;
    const long = Math.max(Math.hypot(ax, ay, az), 1e-9);
    ax /= long; ay /= long; az /= long;
    const bx = ay * tz - az * ty, by = az * tx - ax * tz, bz = ax * ty - ay * tx;
    const before = k === 0 ? CAPS.length : 0, after = k === last ? CAPS.length : 0;
    for (let row = -before; row <= after; row++) {
      const [c, s] = row ? CAPS[row < 0 ? row + before : after - row] : [1, 0];
      const end = Math.sign(row) * s, a = wide[k] * c, b = deep[k] * c;
      const push = end * Math.min(wide[k], deep[k]), tilt = row ? end : -slope;
      const x = mids[3 * k] + push * tx, y = mids[3 * k + 1] + push * ty;
      const z = mids[3 * k + 2] + push * tz;
      for (let i = 0; i < sides; i++) {
        const u = cosines[i], v = sines[i];
        out[at] = x + a * u * ax + b * v * bx;
        out[at + 1] = y + a * u * ay + b * v * by;
        out[at + 2] = z + a * u * az + b * v * bz;
        // The normal of an ellipse is (x / a^2, y / b^2); then lean it along the row of rings
        const nu = u * deep[k], nv = v * wide[k], size = c / Math.max(Math.hypot(nu, nv), 1e-9);
        out[at + 3] = size * (nu * ax + nv * bx) + tilt * tx;
        out[at + 4] = size * (nu * ay + nv * by) + tilt * ty;
        out[at + 5] = size * (nu * az + nv * bz) + tilt * tz;
        at += 6;
      }
    }
  }
  return at;
}

const TRAIL = 37, TRAIL_SECONDS = 1.2;                     // the path of a hand, until now
function trailOf(point, colour) {
  const rings = Array.from({ length: TRAIL }, (_, n) => {
    const thick = 0.006 * (n / (TRAIL - 1)) ** 0.7;
    return [[n, 1], 0, thick, thick];
  });
  return { ...readPart([colour, 5, rings]), point, path: new Float32Array(3 * TRAIL) };
}

function skinTrail(body, trail, time, out, at) {
  const spot = new Float32Array(3);
  for (let n = 0; n < TRAIL; n++) {
    const then = time - TRAIL_SECONDS * (1 - n / (TRAIL - 1));
    pose(body, Math.max(then, 0), spot, trail.point);
    trail.path.set(spot, 3 * n);
  }
  return skin(trail, trail.path, out, at);
}

// All corners of all bodies lie in one array; a body owns a stretch of it and of the triangles.
let corners, tints, triangles;
function layMesh() {
  const parts = bodies.flatMap(body => [...body.skins, ...body.trails]);
  const size = parts.reduce((sum, part) => sum + rows(part) * part.sides, 0);
  corners = new Float32Array(6 * size);
  tints = new Uint8Array(size);
  const list = [];
  let first = 0;
  for (const body of bodies) {
    body.firstTriangle = list.length;
    for (const part of [...body.skins, ...body.trails]) {
      if (part === body.trails[0]) body.plainEnd = list.length;
      tints.fill(part.colour, first, first + rows(part) * part.sides);
      for (let r = 0; r < rows(part) - 1; r++) for (let i = 0; i < part.sides; i++) {
        const a = first + r * part.sides + i, b = first + r * part.sides + (i + 1) % part.sides;
        list.push(a, a + part.sides, b, b, a + part.sides, b + part.sides);
      }
      first += rows(part) * part.sides;
    }
    body.endTriangle = list.length;
    if (!body.trails.length) body.plainEnd = list.length;
  }
  triangles = new Uint32Array(list);
}

function fillMesh(time) {
  let at = 0;
  for (const body of bodies) {
    for (const part of body.skins) at = skin(part, body.now, corners, at);
    for (const trail of body.trails) {
      at = isOn("paths") ? skinTrail(body, trail, time, corners, at)
        : at + 6 * rows(trail) * trail.sides;
    }
  }
}

// ---- 2. Painting with WebGL: floor with shadow, then bodies, kept apart by a depth buffer -----
const PALETTE = {                                          // red, green, blue of each of COLOURS
  light: ["#e8833a", "#3d7cc4", "#a9b3c4", "#76839a", "#d9cabd", "#ffffff", "#262c38", "#b98b7c",
    "#8d97a8"],
  dark: ["#ee8f48", "#5192dc", "#97a3b6", "#66748c", "#d3c3b5", "#f4f6fa", "#1a1e26", "#a97b6e",
    "#5d687a"] };
const GHOSTS = ["#8a4fc7", "#1d9a7c", "#c2376a", "#b08a1e", "#4f6bd0", "#6a7a2c"];
const ghostly = n => GHOSTS[n % GHOSTS.length];
const rgb = hex => [1, 3, 5].map(n => parseInt(hex.slice(n, n + 2), 16) / 255);
const darkness = matchMedia("(prefers-color-scheme: dark)");
const theme = () => darkness.matches ? "dark" : "light";
const LIGHT = [-0.34, 0.85, 0.40];                         // where it comes from; length 1

const SKIN_CORNERS = `#version 300 es
  uniform mat4 view; uniform vec3 palette[9]; uniform vec4 ghost;
  in vec3 place, normal; in float tint;
  out vec3 spot, facing, colour;
  void main() {
    spot = place; facing = normal;
    colour = mix(palette[int(tint)], ghost.rgb, ghost.a);
    gl_Position = view * vec4(place, 1.0);
  }`;
const SKIN_PIXELS = `#version 300 es
  precision highp float;
  uniform vec3 eye, light; uniform float dark, alpha;
  in vec3 spot, facing, colour;
  out vec4 pixel;
  void main() {
    vec3 n = normalize(facing), v = normalize(eye - spot);
    float key = max((dot(n, light) + 0.35) / 1.35, 0.0), look = max(dot(n, v), 0.0);
    float sky = 0.5 + 0.5 * n.y;
    float bright = mix(0.50, 0.66, sky) + 0.42 * key + 0.06 * look;
    bright *= mix(1.0, 0.86, smoothstep(0.35, 0.0, spot.y) * (1.0 - sky));
    float edge = pow(1.0 - look, 3.0);                     // the edge keeps an arm before a chest
    vec3 lit = colour * bright * (1.0 - 0.5 * edge);
    lit += vec3(0.07) * pow(max(dot(n, normalize(light + v)), 0.0), 28.0);
    lit += dark * vec3(0.10, 0.13, 0.18) * edge;
    pixel = vec4(lit, 1.0) * alpha;
  }`;
const SHADOW_CORNERS = `#version 300 es
  uniform vec4 area; uniform vec3 light;
  in vec3 place;
  out float height;
  void main() {
    vec2 ground = place.xz - light.xz / light.y * place.y;
    height = place.y;
    gl_Position = vec4((ground - area.xy) / area.zw, 0.0, 1.0);
  }`;
const SHADOW_PIXELS = `#version 300 es
  precision mediump float;
  in float height;
  out vec4 pixel;
  void main() { pixel = vec4(1.0 - 0.6 * smoothstep(0.0, 1.2, height)); }`;
const FLOOR_CORNERS = `#version 300 es
  uniform mat4 view; uniform vec4 area, turn;              // turn: cosine, sine, and a shift
  uniform float lines;
  in vec2 corner;
  out vec2 ground;
  void main() {
    ground = area.xy + area.zw * corner;
    if (lines > 0.0) ground = mat2(turn.x, turn.y, -turn.y, turn.x) * corner + turn.zw;
    gl_Position = view * vec4(ground.x, 0.0, ground.y, 1.0);
  }`;
const FLOOR_PIXELS = `#version 300 es
  precision highp float;
  uniform sampler2D shade; uniform vec4 area, ink; uniform float centre, lines;
  in vec2 ground;
  out vec4 pixel;
  void main() {
    float cover = 1.0 - smoothstep(0.3, 1.0, length(ground - vec2(centre, 0.0)) / max(lines, 0.1));
    if (lines == 0.0) {
      vec2 at = (ground - area.xy) / area.zw * 0.5 + 0.5, step = 3.0 / vec2(textureSize(shade, 0));
      cover = textureLod(shade, at, 2.0).r * 0.32;
      for (int i = 0; i < 4; i++) {
        vec2 way = vec2(i & 1, i >> 1) * 2.0 - 1.0;
        cover += textureLod(shade, at + way * step, 2.0).r * 0.17;
      }
    }
    pixel = vec4(ink.rgb, 1.0) * ink.a * cover;
  }`;
const CELL = 0.5, CELLS = 14;                              // of the lines on the floor, in metres

function linesOnFloor() {                                  // piece by piece, for each fades
  const ends = [];
  for (let i = -CELLS; i <= CELLS; i++) for (let j = -CELLS; j < CELLS; j++) {
    ends.push(i, j, i, j + 1, j, i, j + 1, i);
  }
  return Float32Array.from(ends, n => n * CELL);
}

function program(corners, pixels, inputs) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, corners], [gl.FRAGMENT_SHADER, pixels]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  inputs.forEach((name, n) => gl.bindAttribLocation(made, n, name));
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getAttachedShaders(made).map(one => gl.getShaderInfoLog(one)));
  }
  const places = new Map();
  made.at = name => {
    if (!places.has(name)) places.set(name, gl.getUniformLocation(made, name));
    return places.get(name);
  };
  return made;
}

function makeGlPainter() {
  const skinner = program(SKIN_CORNERS, SKIN_PIXELS, ["place", "normal", "tint"]);
  const shadower = program(SHADOW_CORNERS, SHADOW_PIXELS, ["place"]);
  const floorer = program(FLOOR_CORNERS, FLOOR_PIXELS, ["corner"]);
  const cornerBuffer = gl.createBuffer(), mesh = gl.createVertexArray();
  const square = gl.createVertexArray();
  const fill = (kind, buffer, content, use) => {
    gl.bindBuffer(kind, buffer);
    gl.bufferData(kind, content, use);
  };
  gl.bindVertexArray(mesh);
  fill(gl.ARRAY_BUFFER, gl.createBuffer(), tints, gl.STATIC_DRAW);
  gl.vertexAttribPointer(2, 1, gl.UNSIGNED_BYTE, false, 0, 0);
  fill(gl.ARRAY_BUFFER, cornerBuffer, corners, gl.DYNAMIC_DRAW);
  gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 24, 0);
  gl.vertexAttribPointer(1, 3, gl.FLOAT, false, 24, 12);
  fill(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer(), triangles, gl.STATIC_DRAW);
  for (const n of [0, 1, 2]) gl.enableVertexAttribArray(n);
  gl.bindVertexArray(square);
  const floor = Float32Array.from([-1, -1, -1, 1, 1, -1, 1, 1, ...linesOnFloor()]);
  fill(gl.ARRAY_BUFFER, gl.createBuffer(), floor, gl.STATIC_DRAW);
  gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
  gl.enableVertexAttribArray(0);

  const shade = gl.createTexture(), shadeFrame = gl.createFramebuffer(), [SW, SH] = [512, 256];
  gl.bindTexture(gl.TEXTURE_2D, shade);
  gl.texStorage2D(gl.TEXTURE_2D, 4, gl.R8, SW, SH);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  for (const way of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
    gl.texParameteri(gl.TEXTURE_2D, way, gl.CLAMP_TO_EDGE);
  }
  gl.bindFramebuffer(gl.FRAMEBUFFER, shadeFrame);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, shade, 0);

  function draw(body, trails) {
    const { firstTriangle: first, plainEnd, endTriangle } = body;
    const count = (trails ? endTriangle : plainEnd) - first;
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 4 * first);
  }

  function paintShade(row, area) {
    gl.bindFramebuffer(gl.FRAMEBUFFER, shadeFrame);
    gl.viewport(0, 0, SW, SH);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.CULL_FACE);
    gl.enable(gl.BLEND);
    gl.blendEquation(gl.MAX);
    gl.useProgram(shadower);
    gl.uniform4fv(shadower.at("area"), area);
    gl.uniform3fv(shadower.at("light"), LIGHT);
    gl.bindVertexArray(mesh);
    for (const body of row) draw(body, false);
    gl.blendEquation(gl.FUNC_ADD);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.generateMipmap(gl.TEXTURE_2D);
  }

  function paintFloor(row, area, view) {
    gl.useProgram(floorer);
    gl.bindVertexArray(square);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false);
    gl.disable(gl.CULL_FACE);
    const dark = theme() === "dark", one = row.length === 1 || isOn("overlay");
    const x = camera.target[0], whole = value => Math.round(value / CELL) * CELL;
    const [gx, gz] = one || follow ? row[0].gone : [0, 0], yaw = one ? camera.yaw : 0;
    const cos = Math.cos(yaw), sin = Math.sin(yaw);
    // The floor turns and goes with one body. The lines repeat: those near the middle are enough
    const wx = whole(cos * (x + gx) + sin * gz), wz = whole(cos * gz - sin * (x + gx));
    gl.uniformMatrix4fv(floorer.at("view"), false, view);
    gl.uniform4fv(floorer.at("area"), area);
    const shift = [cos * wx - sin * wz - gx, sin * wx + cos * wz - gz];
    gl.uniform4fv(floorer.at("turn"), [cos, sin, ...shift]);
    gl.uniform1f(floorer.at("centre"), x);
    gl.uniform1f(floorer.at("lines"), CELL * CELLS);
    gl.uniform4fv(floorer.at("ink"), dark ? [0.55, 0.62, 0.75, 0.26] : [0.5, 0.57, 0.7, 0.34]);
    gl.drawArrays(gl.LINES, 4, floor.length / 2 - 4);
    gl.uniform1f(floorer.at("lines"), 0);
    gl.uniform4fv(floorer.at("ink"), dark ? [0, 0, 0, 0.62] : [0.1, 0.13, 0.2, 0.36]);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    gl.depthMask(true);
    gl.disable(gl.BLEND);
    gl.enable(gl.CULL_FACE);
  }

  function paintBodies(row, view) {
    const far = camera.distance * camera.zoom, [tx, ty, tz] = camera.target;
    gl.useProgram(skinner);
    gl.bindVertexArray(mesh);
    gl.uniformMatrix4fv(skinner.at("view"), false, view);
    gl.uniform3fv(skinner.at("palette"), PALETTE[theme()].flatMap(rgb));
    gl.uniform3fv(skinner.at("light"), LIGHT);
    const up = far * Math.sin(camera.pitch), back = far * Math.cos(camera.pitch);
    gl.uniform3fv(skinner.at("eye"), [tx, ty + up, tz + back]);
    gl.uniform1f(skinner.at("dark"), theme() === "dark" ? 1 : 0);
    for (const body of row) {
      const ghost = isOn("overlay") ? bodies.indexOf(body) - 1 : -1;
      gl.uniform1f(skinner.at("alpha"), ghost < 0 ? 1 : 0.5);
      gl.uniform4fv(skinner.at("ghost"), ghost < 0 ? [0, 0, 0, 0] : [...rgb(ghostly(ghost)), 0.8]);
      if (ghost >= 0) {                                    // its depth first: its front is seen
        gl.colorMask(false, false, false, false);
        draw(body, isOn("paths"));
        gl.colorMask(true, true, true, true);
        gl.depthFunc(gl.EQUAL);
        gl.enable(gl.BLEND);
      }
      draw(body, isOn("paths"));
      gl.depthFunc(gl.LESS);
      gl.disable(gl.BLEND);
    }
  }

  return () => {
    gl.bindVertexArray(mesh);
    gl.bindBuffer(gl.ARRAY_BUFFER, cornerBuffer);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, corners);
    const view = matrixOfView();
    const tall = Math.floor(figure.height / rowsOnStage);
    gl.viewport(0, 0, figure.width, figure.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    for (let r = 0; r < rowsOnStage; r++) {
      const row = bodies.filter(body => body.row === r), area = areaOf(row);
      paintShade(row, area);
      gl.viewport(0, figure.height - (r + 1) * tall, figure.width, tall);
      gl.enable(gl.DEPTH_TEST);
      paintFloor(row, area, view);
      paintBodies(row, view);
    }
  };
}

function areaOf(row) {                                     // of the floor: middle x, z; half sizes
  let low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (const body of row) for (let n = 0; n < body.now.length; n += 3) for (const k of [0, 1]) {
    const lean = k ? LIGHT[2] : LIGHT[0];
    const place = body.now[n + 2 * k] - lean / LIGHT[1] * body.now[n + 1];
    low[k] = Math.min(low[k], place);
    high[k] = Math.max(high[k], place);
  }
  const half = [0, 1].map(k => Math.min((high[k] - low[k]) / 2 + 0.4, 30));
  return [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, ...half];
}

// ---- 3. Painting without WebGL: the same triangles, from the farthest to the nearest ----------
function makeFlatPainter() {
  const pen = figure.getContext("2d"), count = corners.length / 6;
  const x = new Float32Array(count), y = new Float32Array(count), depth = new Float32Array(count);
  function shade(a, b, c, [red, green, blue]) {            // by the mean of three corners' normals
    const [x, y, z] = [3, 4, 5].map(
      n => corners[6 * a + n] + corners[6 * b + n] + corners[6 * c + n]);
    const long = Math.hypot(x, y, z), toLight = x * LIGHT[0] + y * LIGHT[1] + z * LIGHT[2];
    const key = Math.max((toLight / long + 0.35) / 1.35, 0);
    const bright = 255 * (0.58 + 0.08 * y / long + 0.42 * key);
    return `rgb(${[red, green, blue].map(one => Math.min(Math.round(one * bright), 255))})`;
  }

  function paintBody(body, palette) {
    const ghost = isOn("overlay") ? bodies.indexOf(body) - 1 : -1;
    const colours = ghost < 0 ? palette : palette.map(() => rgb(ghostly(ghost)));
    const list = [];
    const end = isOn("paths") ? body.endTriangle : body.plainEnd;
    for (let t = body.firstTriangle; t < end; t += 3) {
      const [a, b, c] = [triangles[t], triangles[t + 1], triangles[t + 2]];
      const turned = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]);
      const cloth = tints[a] === 2 || tints[a] === 3 ? 0.1 : 0;           // over what it covers
      if (turned < 0) list.push([depth[a] + depth[b] + depth[c] - cloth, a, b, c]);
    }
    list.sort((p, q) => q[0] - p[0]);
    pen.globalAlpha = ghost < 0 ? 1 : 0.4;
    for (const [, a, b, c] of list) {
      pen.fillStyle = pen.strokeStyle = shade(a, b, c, colours[tints[a]]);
      pen.beginPath(); pen.moveTo(x[a], y[a]); pen.lineTo(x[b], y[b]); pen.lineTo(x[c], y[c]);
      pen.closePath(); pen.fill();
      if (ghost < 0) pen.stroke();                         // or hairlines stay between them
    }
    pen.globalAlpha = 1;
  }

  return () => {
    const ratio = figure.width / camera.width, palette = PALETTE[theme()].map(rgb);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, camera.width, camera.height * rowsOnStage);
    pen.lineWidth = 0.7;
    for (const body of bodies) {
      for (let n = body.firstTriangle; n < body.endTriangle; n++) {
        const v = triangles[n], spot = project(corners.subarray(6 * v, 6 * v + 3), body.row);
        x[v] = spot.x; y[v] = spot.y; depth[v] = spot.depth;
      }
      const [px, , pz] = body.point(body.root), ground = project([px, 0, pz], body.row);
      pen.fillStyle = theme() === "dark" ? "rgba(0,0,0,0.4)" : "rgba(30,38,56,0.16)";
      pen.beginPath();
      const wide = 0.4 * ground.size, flat = Math.max(wide * Math.sin(camera.pitch), 1);
      pen.ellipse(ground.x, ground.y, wide, flat, 0, 0, 7);
      pen.fill();
    }
    for (const body of bodies) paintBody(body, palette);
  };
}
