// Drawing: one quad a point, blended back to front, all in one indexed call (instances of four
// vertices would leave most of a GPU idle), by the programs of shaders.js.

class Renderer {
  constructor(canvas, onLost) {
    this.canvas = canvas;
    const options = { alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true,
      powerPreference: "high-performance" };
    const gl = (this.gl = canvas.getContext("webgl2", options));
    if (!gl) throw new Error("This browser cannot show the scene: WebGL2 is missing or turned off.");
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      onLost();
    });
    this.program = this.link(VERTEX, FRAGMENT);
    this.copy = this.link(COPY_VERTEX, COPY_FRAGMENT);
    this.halfFloat = Boolean(
      gl.getExtension("EXT_color_buffer_float") || gl.getExtension("EXT_color_buffer_half_float"));
    this.quadArray = gl.createVertexArray();
    gl.bindVertexArray(this.quadArray);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bindVertexArray(null);
    this.emptyArray = gl.createVertexArray();
    this.count = 0;
    this.fill = 1;
    this.mode = 0;
  }

  link(vertex, fragment) {
    const gl = this.gl;
    const handle = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(handle, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
        throw new Error(`Shader: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.linkProgram(handle);
    if (!gl.getProgramParameter(handle, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(`Shader: ${gl.getProgramInfoLog(handle)}`);
    const uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(handle, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(handle, i);
      uniforms[name] = gl.getUniformLocation(handle, name);
    }
    return { handle, uniforms };
  }

  // A data texture as wide as allowed, rows filled up with zeros.
  texture(unit, data, texels, format) {
    const gl = this.gl;
    const limit = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    const width = Math.min(limit, 4096);
    const height = Math.max(1, Math.ceil(texels / width));
    if (height > limit)
      throw new Error("The scene is too large for the graphics memory of this device.");
    const [internal, layout, type, Type, channels] = {
      points: [gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT, Uint32Array, 4],
      offsets: [gl.RGBA16I, gl.RGBA_INTEGER, gl.SHORT, Int16Array, 4],
      turns: [gl.RGBA8I, gl.RGBA_INTEGER, gl.BYTE, Int8Array, 4],
      gains: [gl.RG8I, gl.RG_INTEGER, gl.BYTE, Int8Array, 2],
      order: [gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, Uint32Array, 1],
      shapes: [gl.RGBA32F, gl.RGBA, gl.FLOAT, Float32Array, 4],
    }[format];
    const padded = new Type(width * height * channels);
    padded.set(data);
    const texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const name of ["MIN", "MAG"])
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}_FILTER`], gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, internal, width, height);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, layout, type, padded);
    this.held[unit] = { padded, width, layout, type, channels };
    return texture;
  }

  // Put `data` into a data texture from texel `from` on.
  refill(unit, data, from) {
    if (!data.length) return;
    const gl = this.gl;
    const { padded, width, layout, type, channels } = this.held[unit];
    padded.set(data, from * channels);
    const top = Math.floor(from / width);
    const bottom = Math.ceil((from + data.length / channels) / width);
    const rows = padded.subarray(top * width * channels, bottom * width * channels);
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[unit]);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, top, width, bottom - top, layout, type, rows);
  }

  // The offsets, slopes, turns and gains of more times (worker.js, addPart).
  extend({ from, ready, offsets, slopes, turns, gains }) {
    const { info } = this;
    this.refill(1, offsets, from * info.moving);
    this.refill(2, gains, from * info.changing);
    this.refill(5, slopes, from * info.moving);
    this.refill(6, turns, from * info.moving);
    this.widen(offsets);
    if (ready === info.times.length) this.held = [];
  }

  // How far points move, for the colouring by motion.
  widen(offsets) {
    let largest = 0;
    for (let i = 0; i < offsets.length; i++) largest = Math.max(largest, Math.abs(offsets[i]));
    this.largestOffset = Math.max(this.largestOffset, largest * this.info.offsetStep * 1.2);
  }

  load({ info, points, offsets, slopes, turns, gains, shapes, sheens }) {
    const gl = this.gl;
    this.info = info;
    for (const old of this.textures || []) gl.deleteTexture(old);
    this.held = []; // what textures that are still to be filled hold
    this.textures = [
      this.texture(0, new Uint32Array(points), 2 * info.points, "points"),
      this.texture(1, offsets, info.times.length * info.moving, "offsets"),
      this.texture(2, gains, info.times.length * info.changing, "gains"),
      this.texture(3, new Uint32Array(0), info.points, "order"),
      this.texture(4, shapes, shapes.length / 4, "shapes"),
      this.texture(5, slopes, slopes.length / 4, "offsets"),
      this.texture(6, turns, turns.length / 4, "turns"),
      this.texture(7, sheens, sheens.length / 4, "turns"),
    ];
    const corners = new Uint32Array(6 * info.points); // two triangles a point
    for (let i = 0; i < info.points; i++)
      corners.set([4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 2, 4 * i + 1, 4 * i + 3], 6 * i);
    gl.bindVertexArray(this.quadArray);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    this.shaped = shapes.length > 0;
    this.largestOffset = 0;
    this.widen(offsets);
    if (info.ready === info.times.length) this.held = [];
    this.count = 0;
  }

  // Indices of the points from far to near; the last row of the texture is filled up.
  setOrder(order) {
    const gl = this.gl;
    this.count = order.length;
    if (!this.count) return;
    const width = Math.min(gl.getParameter(gl.MAX_TEXTURE_SIZE), 4096);
    const height = Math.ceil(order.length / width);
    const rows = new Uint32Array(width * height);
    rows.set(order);
    gl.activeTexture(gl.TEXTURE3);
    gl.bindTexture(gl.TEXTURE_2D, this.textures[3]);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RED_INTEGER, gl.UNSIGNED_INT, rows);
  }

  // Off-screen half-float target of the canvas size.
  target() {
    const gl = this.gl;
    const { width, height } = this.canvas;
    if (this.frame && this.frame.width === width && this.frame.height === height) return this.frame;
    if (this.frame) {
      gl.deleteTexture(this.frame.texture);
      gl.deleteFramebuffer(this.frame.buffer);
    }
    const texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE8);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const name of ["MIN", "MAG"])
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}_FILTER`], gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA16F, width, height);
    const buffer = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE)
      this.halfFloat = false;
    this.frame = { texture, buffer, width, height };
    return this.frame;
  }

  // Where a camera is seen, less the mean of the input views, in units of their reach (recon/sheen.py).
  from(w2c) {
    const { sheen_from: origin, sheenStep } = this.info;
    if (!sheenStep) return [0, 0, 0];
    const to = [0, 1, 2].map((c) => -(w2c[c] * w2c[3] + w2c[4 + c] * w2c[7] + w2c[8 + c] * w2c[11])
      - origin[c]);
    const far = Math.hypot(...to) || 1, reach = Math.max(1e-9, origin[6]);
    const off = to.map((x, c) => (x / far - origin[3 + c]) / reach);
    const share = sheenStep / Math.max(1, Math.hypot(...off));
    return off.map((x) => x * share);
  }

  // camera: {w2c (16, row-major), focal, centre} in canvas pixels.
  draw(camera, moment) {
    const gl = this.gl;
    const { info, canvas } = this;
    const target = this.halfFloat ? this.target() : null;
    const offscreen = this.halfFloat && target;
    gl.bindFramebuffer(gl.FRAMEBUFFER, offscreen ? target.buffer : null);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.disable(gl.BLEND);
    gl.clearColor(...info.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const { handle, uniforms } = this.program;
    gl.useProgram(handle);
    this.textures.forEach((texture, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    gl.uniform1i(uniforms.uPoints, 0);
    gl.uniform1i(uniforms.uOffsets, 1);
    gl.uniform1i(uniforms.uGains, 2);
    gl.uniform1i(uniforms.uOrder, 3);
    gl.uniform1i(uniforms.uShapes, 4);
    gl.uniform1i(uniforms.uSlopes, 5);
    gl.uniform1i(uniforms.uTurns, 6);
    gl.uniform1i(uniforms.uSheens, 7);
    gl.uniform1i(uniforms.uSheen, info.sheenStep > 0 ? 1 : 0);
    gl.uniform3fv(uniforms.uFrom, this.from(camera.w2c));
    gl.uniform1i(uniforms.uShaped, this.shaped ? 1 : 0);
    gl.uniformMatrix4fv(uniforms.uView, true, camera.w2c);
    const turn = [0, 4, 8].flatMap((r) => camera.w2c.slice(r, r + 3));
    gl.uniformMatrix3fv(uniforms.uAxes, true, info.offset_axes || turn);
    gl.uniform2f(uniforms.uFocal, ...camera.focal);
    gl.uniform2f(uniforms.uCentre, ...camera.centre);
    gl.uniform2f(uniforms.uSize, canvas.width, canvas.height);
    gl.uniform3i(uniforms.uMoment, moment.before, moment.after, info.moving);
    gl.uniform1i(uniforms.uChanging, info.changing);
    const steps = [info.offsetStep, info.slopeStep, info.offsetStep, info.slopeStep];
    gl.uniform4f(uniforms.uCurve, ...moment.weights.map((weight, k) => weight * steps[k]));
    gl.uniform1i(uniforms.uCurved, info.slopeStep > 0 ? 1 : 0);
    gl.uniform1f(uniforms.uTurn, info.turnStep);
    gl.uniform2f(uniforms.uGain, moment.fraction, info.gainStep);
    gl.uniform2f(uniforms.uStyle, this.fill, this.mode);
    gl.uniform3f(uniforms.uRange, camera.range[0], camera.range[1], this.largestOffset);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(this.quadArray);
    gl.drawElements(gl.TRIANGLES, 6 * this.count, gl.UNSIGNED_INT, 0);
    if (offscreen) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.disable(gl.BLEND);
      gl.useProgram(this.copy.handle);
      gl.activeTexture(gl.TEXTURE8);
      gl.bindTexture(gl.TEXTURE_2D, target.texture);
      gl.uniform1i(this.copy.uniforms.uPicture, 8);
      gl.bindVertexArray(this.emptyArray);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
    gl.bindVertexArray(null);
  }
}
