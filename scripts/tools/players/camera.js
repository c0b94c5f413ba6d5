// A three.js camera (y up, looks along -z) that stands where an OpenCV camera of the scene stands;
// the world of the file is the scene's after half a turn about x.
export function camera(THREE, w2c, K, [height, width]) {
  const eye = new THREE.PerspectiveCamera(
    (2 * Math.atan(height / 2 / K[4]) * 180) / Math.PI, width / height, 0.01, 1000);
  const flip = new THREE.Matrix4().makeScale(1, -1, -1);
  const view = new THREE.Matrix4().set(...w2c);
  const matrix = flip.clone().multiply(view).multiply(flip).invert();
  matrix.decompose(eye.position, eye.quaternion, eye.scale);
  eye.updateMatrixWorld(true);
  return eye;
}
